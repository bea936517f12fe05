"""What a DAG says of its nodes, noted at them. ALL_NODES: those of its own file, but not FINAL."""

from __future__ import annotations

from wms_grpc.gateway.dagman.commands import (
    Abort,
    Category,
    Command,
    Done,
    PreSkip,
    Priority,
    Retry,
    SavePoint,
    ScriptCommand,
    Tolerance,
    Vars,
)
from wms_grpc.gateway.dagman.graph import Node, Scope
from wms_grpc.gateway.dagman.names import ALL_NODES
from wms_grpc.gateway.dagman.text import Findings, refuse
from wms_grpc.gateway.model import Position

__all__ = ["apply_to_nodes"]


def apply_to_nodes(command: Command, scope: Scope, findings: Findings) -> None:
    """Note the command at the nodes that it names. Raises Refused where DAGMan does."""
    match command:
        case Vars():
            for node in _nodes(command.node, scope, command.position, findings):
                node.variables.append(command)
        case ScriptCommand():
            for node in _nodes(command.node, scope, command.position, findings):
                _replaced(
                    node, command.moment in node.scripts, "script", command.position, findings
                )
                node.scripts[command.moment] = command
        case Retry():
            for node in _only_jobs("RETRY", command.node, scope, command.position, findings):
                node.retry = command
        case Priority():
            for node in _only_jobs("PRIORITY", command.node, scope, command.position, findings):
                node.priority = command.priority
        case Category():
            category = command.category
            full = category if category.startswith("+") else scope.prefix + category
            for node in _only_jobs("CATEGORY", command.node, scope, command.position, findings):
                node.category = full
        case Abort():
            for node in _nodes(command.node, scope, command.position, findings):
                if node.definition.kind == "FINAL":
                    _refuse_kind("ABORT-DAG-ON", node, command.position)
                node.abort = command
        case PreSkip():
            _skip(command, scope, findings)
        case _:
            _apply_rarer(command, scope, findings)


def _apply_rarer(command: Command, scope: Scope, findings: Findings) -> None:
    match command:
        case Tolerance():
            for node in _nodes(command.node, scope, command.position, findings):
                node.tolerance = command
        case SavePoint():
            for node in _only_jobs(
                "SAVE_POINT_FILE", command.node, scope, command.position, findings
            ):
                node.save_point = command
        case Done():
            for node in _nodes(command.node, scope, command.position, findings):
                if node.definition.kind in ("JOB", "SUBDAG"):
                    node.is_done = True
                    continue
                message = f"a {node.definition.kind} node cannot be DONE; this is ignored"
                findings.add("IGNORED_DONE", message, command.position, node.name)


def _skip(command: PreSkip, scope: Scope, findings: Findings) -> None:
    nodes = _nodes(command.node, scope, command.position, findings)
    if command.exit_code == 0:
        message = "PRE_SKIP with 0 skips a node whose PRE script succeeds; DAGMan ignores it"
        findings.add("IGNORED_PRE_SKIP", message, command.position, command.node)
        return
    for node in nodes:
        node.pre_skip = command.exit_code


def _nodes(name: str, scope: Scope, at: Position, findings: Findings) -> list[Node]:
    if name == ALL_NODES:
        nodes = [n for n in scope.nodes.values() if n.definition.kind in ("JOB", "SUBDAG")]
        if not nodes:
            findings.add("NO_NODES", "ALL_NODES: this file has no nodes of its own", at)
        return nodes
    found = scope.found(name)
    if found is None:
        refuse("UNKNOWN_NODE", f"there is no node {name}", at, name)
    if isinstance(found, Scope):
        refuse("UNKNOWN_NODE", f"{name} is a splice, and this is for nodes", at, name)
    return [found]


def _only_jobs(
    keyword: str, name: str, scope: Scope, at: Position, findings: Findings
) -> list[Node]:
    nodes = _nodes(name, scope, at, findings)
    for node in nodes:
        if node.definition.kind not in ("JOB", "SUBDAG"):
            _refuse_kind(keyword, node, at)
    return nodes


def _refuse_kind(keyword: str, node: Node, at: Position) -> None:
    kind = node.definition.kind
    refuse("WRONG_NODE", f"{node.name} is {kind}, which has no {keyword}", at, node.name)


def _replaced(node: Node, is_there: bool, what: str, at: Position, findings: Findings) -> None:
    if is_there:
        message = f"{node.name} has such a {what} already; this one counts"
        findings.add("OVERRIDDEN", message, at, node.name)
