"""DAGMan as a language of the gateway: a bundle of DAG files and submit files, and back."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import Final

from wms_grpc.gateway.dagman.commands import Include, NodeDefinition, Setting, Splice
from wms_grpc.gateway.dagman.cycles import report_cycle
from wms_grpc.gateway.dagman.graph import Graph
from wms_grpc.gateway.dagman.graph_reader import GraphReader
from wms_grpc.gateway.dagman.lines import BLANKS, split_blanks
from wms_grpc.gateway.dagman.names import read_name
from wms_grpc.gateway.dagman.parser import KEYWORDS, parse
from wms_grpc.gateway.dagman.settings import Settings
from wms_grpc.gateway.dagman.tasks import TaskReader
from wms_grpc.gateway.dagman.text import Findings, refuse
from wms_grpc.gateway.dagman.writer import written_workflow
from wms_grpc.gateway.model import Bundle, Position, Translation, Workflow, Written

__all__ = ["Dagman"]

_SUFFIX: Final = re.compile(r"\.dag(?:\.rescue\d+)?$", re.IGNORECASE)
_SEEN: Final = 64 * 1024
"""Bytes of a file by which its language is told."""


class Dagman:
    """HTCondor DAGMan, read and written."""

    @property
    def name(self) -> str:
        """Its name."""
        return "dagman"

    def claims(self, bundle: Bundle) -> bool:
        """Whether the first command is one of DAGMan's, or the name says so and nothing else does.

        A `.dag` that begins with a bracket is in a language of records or elements.
        """
        content = bundle.files.get(bundle.main, b"")[:_SEEN]
        if b"\0" in content:
            return False
        is_named = _SUFFIX.search(bundle.main) is not None
        for line in content.decode("latin-1").split("\n"):
            said = line.strip(BLANKS)
            if said and not said.startswith(("#", "//")):
                word, *others = split_blanks(said)
                is_lone = not others or others[0].startswith(("=", ":"))
                keyword = word.upper().replace("-", "_")
                if keyword in KEYWORDS and (not is_lone or keyword == "REJECT"):
                    return True
                return is_named and said[0] not in "[{<"
        return is_named

    def read(self, bundle: Bundle) -> Translation:
        """Translate. Raises Refused."""
        if bundle.main not in bundle.files:
            message = f"the main file {bundle.main} is not in the bundle"
            refuse("MISSING_FILE", message, Position(bundle.main), bundle.main)
        findings = Findings()
        graph = GraphReader(bundle, _folder(bundle), findings).graph()
        settings = Settings(graph.settings, bundle, findings)
        tasks = TaskReader(bundle, findings, appends=settings.appends_variables)
        annotations = {**settings.annotations, **_weak_edges(graph, findings), **_pins(graph)}
        workflow = Workflow(
            name=_name(bundle.main),
            tasks=tuple(tasks.task(node) for node in graph.nodes),
            dependencies=tuple(graph.edges),
            max_running=settings.max_running,
            max_idle=settings.max_idle,
            category_limits=graph.limits,
            annotations={"dagman": annotations} if annotations else {},
        )
        report_cycle(graph, findings)
        if not graph.nodes:
            findings.add("NO_NODES", "the DAG has no nodes", Position(bundle.main))
        return Translation(self.name, workflow, findings.all())

    def write(self, workflow: Workflow) -> Written:
        """Write one DAG file with its descriptions in it. Raises Refused for a given net."""
        return written_workflow(workflow)


def _name(main: str) -> str:
    return read_name(_SUFFIX.sub("", posixpath.basename(main))) or "workflow"


def _folder(bundle: Bundle) -> str:
    """Return the folder that paths are relative to: the bundle's root, or the main file's folder.

    DAGMan takes them from where it is started, which a bundle does not say; so the one counts
    where more of what the main file names lies.
    """
    folder = posixpath.dirname(bundle.main)
    if not folder:
        return ""
    named: list[str] = []
    for command in parse(bundle.main, bundle.files[bundle.main], Findings()):
        match command:
            case NodeDefinition():
                named.append(posixpath.join(command.folder, command.description))
            case Splice():
                named.append(posixpath.join(command.folder, command.file))
            case Include():
                named.append(command.file)
            case Setting(keyword="CONFIG"):
                named.append(command.words[0])
    here = sum(posixpath.normpath(name) in bundle.files for name in named)
    beside = sum(posixpath.normpath(posixpath.join(folder, n)) in bundle.files for n in named)
    return folder if beside > here else ""


def _weak_edges(graph: Graph, findings: Findings) -> Mapping[str, object]:
    weak = [edge for edge in graph.edges.values() if edge.is_weak]
    for edge in weak:
        message = "the children of a weak dependency run after a failure in DAGMan, and not here"
        findings.add("NO_COUNTERPART", message, edge.position, "WEAK")
    pairs = [[list(e.dependency.parents), list(e.dependency.children)] for e in weak]
    return {"weak": pairs} if pairs else {}


def _pins(graph: Graph) -> Mapping[str, object]:
    return {"pins": [list(pin) for pin in graph.pins]} if graph.pins else {}
