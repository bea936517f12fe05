"""The DAG files of a bundle into one graph: splices and includes are expanded within bounds.

As in DAGMan, all nodes and splices of a file are known before anything is said of them. What
DAGMan refuses is refused at the line that says it.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from typing import Final

from wms_grpc.domain.nets import Dependency
from wms_grpc.gateway.dagman.commands import (
    Command,
    Connect,
    Description,
    Edges,
    Include,
    MaxJobs,
    NodeDefinition,
    Pin,
    Reject,
    Setting,
    Splice,
)
from wms_grpc.gateway.dagman.graph import Edge, Graph, Node, Scope
from wms_grpc.gateway.dagman.node_commands import apply_to_nodes
from wms_grpc.gateway.dagman.parser import parse
from wms_grpc.gateway.dagman.text import Findings, refuse
from wms_grpc.gateway.model import MAX_DEPTH, MAX_NODES, Bundle, Position

__all__ = ["GraphReader"]

_MAX_LIFTED: Final = 10 * MAX_NODES
"""How often, in all, a node may be an end of a splice: the work of expanding."""

_MAX_FILES: Final = 100_000
"""Of splices and includes, for they may double at each level."""

_IN_TOP_ONLY: Final = ("DOT", "NODE_STATUS_FILE", "JOBSTATE_LOG")


class GraphReader:
    """Reads one bundle's graph. `folder` is where DAGMan would have been started."""

    def __init__(self, bundle: Bundle, folder: str, findings: Findings) -> None:
        self._bundle = bundle
        self._findings = findings
        self._graph = Graph(Scope("", folder, None, 0))
        self._parsed: dict[str, tuple[Command, ...]] = {}
        self._open: list[str] = []
        self._n_nodes = self._n_files = self._n_edges = self._n_lifted = 0
        self._by_kind: dict[str, Node] = {}

    def graph(self) -> Graph:
        """Return the graph of the main file. Raises Refused."""
        self._read(self._bundle.main, self._graph.top)
        return self._graph

    def _read(self, file: str, scope: Scope) -> None:
        self._open.append(file)
        commands = list(self._commands(file, scope))
        for command in commands:
            self._define(command, scope)
        for command in commands:
            self._apply(command, scope)
        self._lift(scope)
        self._open.pop()

    def _commands(self, file: str, scope: Scope) -> Iterator[Command]:
        """Yield the commands of a file, those that it includes in their place."""
        if file not in self._parsed:
            self._parsed[file] = parse(file, self._bundle.files[file], self._findings)
        for command in self._parsed[file]:
            if not isinstance(command, Include):
                yield command
                continue
            included = self._file(command.file, scope.folder, "included file", command.position)
            self._count_file(command.position)
            self._open.append(included)
            yield from self._commands(included, scope)
            self._open.pop()

    def _file(self, name: str, folder: str, what: str, at: Position) -> str:
        path = posixpath.normpath(posixpath.join(folder, name))
        if path not in self._bundle.files:
            looked = "" if path == name else f", as {path}"
            refuse("MISSING_FILE", f"the {what} {name} is not in the bundle{looked}", at, name)
        if path in self._open:
            refuse("RECURSION", f"the {what} {name} is being read already", at, name)
        if len(self._open) >= MAX_DEPTH:
            refuse("TOO_DEEP", f"files are nested more than {MAX_DEPTH} deep", at, name)
        return path

    def _define(self, command: Command, scope: Scope) -> None:
        match command:
            case NodeDefinition():
                self._define_node(command, scope)
            case Splice():
                self._define_splice(command, scope)
            case Description():
                if command.name in scope.descriptions:
                    message = f"the description {command.name} is there already; this one counts"
                    self._findings.add("DUPLICATE_NAME", message, command.position, command.name)
                scope.descriptions[command.name] = command
            case Reject():
                refuse("REJECTED", "the file says REJECT: it is not to be run", command.position)

    def _define_node(self, definition: NodeDefinition, scope: Scope) -> None:
        name, at = definition.name, definition.position
        self._unused(name, scope, at)
        self._n_nodes += 1
        if self._n_nodes > MAX_NODES:
            refuse("TOO_LARGE", f"more than {MAX_NODES} nodes", at)
        if definition.kind in ("FINAL", "PROVISIONER"):
            self._only_one(definition, scope)
        folder = posixpath.normpath(posixpath.join(scope.folder, definition.folder))
        node = Node(scope.prefix + name, definition, "" if folder == "." else folder, scope)
        node.is_done = definition.is_done
        if definition.is_done and definition.kind not in ("JOB", "SUBDAG"):
            message = f"a {definition.kind} node cannot be DONE; this is ignored"
            self._findings.add("IGNORED_DONE", message, at, node.name)
            node.is_done = False
        scope.nodes[name] = node
        self._graph.nodes.append(node)

    def _only_one(self, definition: NodeDefinition, scope: Scope) -> None:
        kind, at = definition.kind, definition.position
        if kind == "FINAL" and scope.outer is not None:
            refuse("FINAL_IN_SPLICE", "a splice cannot have a FINAL node", at, definition.name)
        if kind in self._by_kind:
            other = self._by_kind[kind].name
            refuse("DUPLICATE_NAME", f"there is a {kind} node already, {other}", at, other)
        self._by_kind[kind] = Node(definition.name, definition, "", scope)

    def _define_splice(self, splice: Splice, scope: Scope) -> None:
        self._unused(splice.name, scope, splice.position)
        self._count_file(splice.position)
        folder = posixpath.normpath(posixpath.join(scope.folder, splice.folder))
        folder = "" if folder == "." else folder
        file = self._file(splice.file, folder, "splice", splice.position)
        inner = Scope(f"{scope.prefix}{splice.name}+", folder, scope, scope.depth + 1)
        scope.splices[splice.name] = inner
        self._read(file, inner)

    def _unused(self, name: str, scope: Scope, at: Position) -> None:
        if name in scope.nodes or name in scope.splices:
            what = "node" if name in scope.nodes else "splice"
            refuse("DUPLICATE_NAME", f"there is a {what} of the name {name} already", at, name)

    def _count_file(self, at: Position) -> None:
        self._n_files += 1
        if self._n_files > _MAX_FILES:
            refuse("TOO_LARGE", f"more than {_MAX_FILES} splices and included files", at)

    def _apply(self, command: Command, scope: Scope) -> None:
        match command:
            case Edges():
                parents = self._ends(command.parents, scope, command.position, is_parent=True)
                children = self._ends(command.children, scope, command.position, is_parent=False)
                self._connect(parents, children, command.position, is_weak=command.is_weak)
            case NodeDefinition() | Splice() | Description() | Reject() | Include():
                pass
            case MaxJobs():
                self._graph.limits[_category(command.category, scope)] = command.limit
            case Setting():
                self._set(command, scope)
            case Pin():
                self._pin(command, scope)
            case Connect():
                self._connect_splices(command, scope)
            case _:
                apply_to_nodes(command, scope, self._findings)

    def _ends(
        self, names: Iterable[str], scope: Scope, at: Position, *, is_parent: bool
    ) -> list[Node]:
        ends: dict[Node, None] = {}
        for name in names:
            found = scope.found(name)
            if found is None:
                refuse("UNKNOWN_NODE", f"there is no node or splice {name}", at, name)
            if isinstance(found, Scope):
                nodes = found.final if is_parent else found.initial
                if not nodes:
                    message = f"the splice {name} has no nodes: what it joins is not ordered"
                    self._findings.add("EMPTY_SPLICE", message, at, name)
                ends.update(dict.fromkeys(nodes))
                continue
            if found.definition.kind not in ("JOB", "SUBDAG"):
                kind = found.definition.kind
                refuse("NO_DEPENDENCY", f"{name} is {kind}, and depends on nothing", at, name)
            ends[found] = None
        return list(ends)

    def _connect(
        self, parents: list[Node], children: list[Node], at: Position, *, is_weak: bool = False
    ) -> None:
        if not parents or not children:
            return
        self._n_edges += len(parents) + len(children)
        if self._n_edges > 2 * MAX_NODES:
            refuse("TOO_LARGE", f"more than {MAX_NODES} edges", at)
        for node in parents:
            node.has_children = True
        for node in children:
            node.has_parents = True
        names = tuple(n.name for n in parents), tuple(n.name for n in children)
        self._graph.edges.setdefault(Dependency(*names), Edge(Dependency(*names), is_weak, at))

    def _connect_splices(self, command: Connect, scope: Scope) -> None:
        at = command.position
        source, target = scope.found(command.source), scope.found(command.target)
        if not isinstance(source, Scope):
            refuse("UNKNOWN_NODE", f"there is no splice {command.source}", at, command.source)
        if not isinstance(target, Scope):
            refuse("UNKNOWN_NODE", f"there is no splice {command.target}", at, command.target)
        source.is_connected = target.is_connected = True
        n_out, n_in = max(source.pins_out, default=0), max(target.pins_in, default=0)
        if not n_out or n_out != n_in:
            said = f"{command.source} has {n_out} pins out, {command.target} {n_in} pins in"
            refuse("PIN_MISMATCH", said, at)
        for number in range(1, n_out + 1):
            if number not in source.pins_out or number not in target.pins_in:
                refuse("PIN_MISMATCH", f"the pin {number} has nodes on one side only", at)
            self._connect(source.pins_out[number], target.pins_in[number], at)
        for node in target.initial:
            if not node.has_parents:
                refuse(
                    "PIN_MISMATCH", f"{node.name} is at no pin, and has no parents", at, node.name
                )

    def _pin(self, pin: Pin, scope: Scope) -> None:
        node = scope.nodes.get(pin.node)
        if node is None:
            refuse("UNKNOWN_NODE", f"there is no node {pin.node}", pin.position, pin.node)
        if pin.number > MAX_NODES:
            refuse("TOO_LARGE", f"a pin's number above {MAX_NODES}", pin.position)
        if scope.outer is None:
            word = "PIN_OUT" if pin.is_out else "PIN_IN"
            self._graph.pins.append((word, node.name, pin.number))
        pins = (scope.pins_out if pin.is_out else scope.pins_in).setdefault(pin.number, [])
        if node not in pins:
            pins.append(node)

    def _set(self, setting: Setting, scope: Scope) -> None:
        if scope.outer is not None and setting.keyword in _IN_TOP_ONLY:
            message = f"{setting.keyword} is for the DAG itself, and ignored in a splice"
            self._findings.add("IGNORED_IN_SPLICE", message, setting.position, severity="info")
            return
        if setting.keyword == "CONFIG":
            path = posixpath.normpath(posixpath.join(scope.folder, setting.words[0]))
            setting = Setting("CONFIG", (path, setting.words[0]), setting.position)
        self._graph.settings.append(setting)

    def _lift(self, scope: Scope) -> None:
        initial = [node for node in scope.nodes.values() if _is_in_net(node)]
        final = list(initial)
        for splice in scope.splices.values():
            initial += splice.initial
            final += splice.final
        self._n_lifted += len(initial) + len(final)
        if self._n_lifted > _MAX_LIFTED:
            refuse(
                "TOO_LARGE", "too many nodes in too many splices", Position(self._open[-1], 0, 0)
            )
        scope.initial = [node for node in initial if not node.has_parents]
        scope.final = [node for node in final if not node.has_children]


def _is_in_net(node: Node) -> bool:
    return node.definition.kind in ("JOB", "SUBDAG")


def _category(category: str, scope: Scope) -> str:
    return category if category.startswith("+") else scope.prefix + category
