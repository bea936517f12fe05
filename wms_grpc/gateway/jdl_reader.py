"""gLite's job description language, read.

A job alone, a dag, a collection, or a parametric job, which is read as the collection that it
stands for. What has no counterpart is kept, as it is written, in annotations: `attributes` of the
whole or of a task, `node` for what is said of the node beside its description, and `file` for a
description that is missing.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from functools import partial
from typing import Final

from wms_grpc.domain.tasks import BatchWork, Recovery, SubWorkflowWork, Task
from wms_grpc.gateway.jdl_graph import Graph, refused_reference
from wms_grpc.gateway.jdl_job import (
    JobSayings,
    jdl_annotations,
    kept,
    max_tries,
    task_from,
)
from wms_grpc.gateway.jdl_nodes import Node, kind_of, nodes_of
from wms_grpc.gateway.jdl_parametric import expanded
from wms_grpc.gateway.jdl_said import Report, Said, Sayings, sayings_of
from wms_grpc.gateway.jdl_syntax import Record, parse_jdl
from wms_grpc.gateway.jdl_words import INHERITED, is_about_glue
from wms_grpc.gateway.model import Bundle, Finding, Position, Refused, Translation, Workflow
from wms_grpc.gateway.sources import Source

__all__ = ["read_jdl", "speaks_jdl"]

_OF_A_DAG: Final = frozenset(
    {
        "type",
        "nodes",
        "defaultnoderetrycount",
        "dependencies",
        "jobname",
        "max_nodes_running",
        "max_running_nodes",
        "node_retry_count",
        "node_type",
        "retrycount",
    }
)
_LEADING: Final = re.compile(r"(?:\s++|//[^\n]*+|#[^\n]*+|/\*(?:[^*]|\*(?!/))*+\*/)*+")
_BEGINNING: Final = re.compile(
    r"\[\s*(?:[A-Za-z_]\w*\s*=[^=]|\])|(?:Type|JobType|Executable)\s*=\s*\"[^\"\n]*\"\s*;",
    re.IGNORECASE | re.ASCII,
)


def speaks_jdl(bundle: Bundle) -> bool:
    """Whether the main file is a job description, by its name or its beginning."""
    if bundle.main.lower().endswith(".jdl"):
        return True
    text = bundle.files.get(bundle.main, b"")[:8192].decode("utf-8-sig", "replace")
    leading = _LEADING.match(text)
    return _BEGINNING.match(text, leading.end() if leading else 0) is not None


def read_jdl(bundle: Bundle) -> Translation:
    """Translate. Raises Refused."""
    data = bundle.files.get(bundle.main)
    if data is None:
        where = Position(bundle.main)
        raise Refused(Finding("MISSING_FILE", "the main file is not there", where, "", "error"))
    source = Source.decoded(bundle.main, data)
    record = parse_jdl(source)
    report = Report()
    sayings = sayings_of(source, record.attributes, report)
    if not sayings:
        raise source.refused("EMPTY", "nothing is said in this file", 0)
    name = posixpath.basename(bundle.main)
    name = name[:-4] if name.lower().endswith(".jdl") else name
    named = sayings.get("jobname")
    name = named.text() if named else name
    kind = kind_of(sayings)
    if kind == "job":
        workflow = _job(name, source, record, sayings, report)
    elif kind == "parametric":
        workflow = _parametric(name, source, record, sayings, report)
    else:
        workflow = _Dag(name, source, record, sayings, bundle, report).workflow()
    return Translation("jdl", workflow, tuple(sorted(report.findings, key=_place)))


def _place(finding: Finding) -> tuple[str, int, int]:
    return finding.position.file, finding.position.line, finding.position.column


def _job(name: str, source: Source, record: Record, said: Sayings, report: Report) -> Workflow:
    own = {word: part for word, part in said.items() if word != "jobname"}
    sayings = JobSayings(source, record.start, own)
    task = task_from(name or "job", sayings, refused_reference, report)
    return Workflow(name, (task,))


def _parametric(
    name: str, source: Source, record: Record, said: Sayings, report: Report
) -> Workflow:
    own = {word: part for word, part in said.items() if word != "jobname"}
    tasks = tuple(
        task_from(node, JobSayings(source, record.start, job), refused_reference, report)
        for node, job in expanded(own, report)
    )
    return Workflow(name, tasks)


class _Dag:
    """A dag, or a collection, which is one without dependencies."""

    def __init__(
        self,
        name: str,
        source: Source,
        record: Record,
        sayings: Sayings,
        bundle: Bundle,
        report: Report,
    ) -> None:
        self._name = name
        self._sayings = sayings
        self._report = report
        nodes = sayings.get("nodes")
        if nodes is None:
            raise source.refused("NO_NODES", "a dag or a collection needs nodes", record.start)
        self._nodes = nodes_of(nodes, bundle, report)
        if not self._nodes:
            raise nodes.refused("NO_NODES", "a dag or a collection needs a node at least")
        self._dag = {word: said for word, said in sayings.items() if _is_inherited(word, said)}
        self._graph = Graph(self._nodes, sayings, report)

    def workflow(self) -> Workflow:
        """Read it."""
        for said in self._dependencies():
            self._graph.read_dependencies(said)
        tasks = tuple(self._task(node) for node in self._nodes)
        dependencies = self._graph.dependencies()
        self._report_unused()
        rest = {word for word in self._sayings if word not in _OF_A_DAG and word not in self._dag}
        attributes = self._node_type(self._sayings) | kept(self._sayings, rest, self._report)
        return Workflow(
            self._name,
            tasks,
            dependencies,
            max_running=self._max_running(),
            annotations=jdl_annotations(attributes=attributes),
        )

    def _dependencies(self) -> Iterator[Said]:
        nodes = self._sayings["nodes"]
        if isinstance(nodes.value, Record):
            inner = [a for a in nodes.value.attributes if a.name.lower() == "dependencies"]
            yield from sayings_of(nodes.source, inner, self._report).values()
        if "dependencies" in self._sayings:
            yield self._sayings["dependencies"]

    def _task(self, node: Node) -> Task:
        sayings = JobSayings(
            node.described_in or node.source,
            node.start if node.described_in is None else 0,
            node.description or {},
            node.own,
            self._sayings,
        )
        rest = node.own.keys() - {"nodename", "node_retry_count", "node_type"}
        at_node = self._node_type(node.own) | kept(node.own, rest, self._report)
        if node.description is None:
            work = SubWorkflowWork("jdl", node.file) if node.is_workflow else BatchWork()
            recovery = Recovery(max_tries=max_tries(sayings, self._report))
            file = "" if node.is_workflow else node.file
            annotations = jdl_annotations(node=at_node, file=file)
            return Task(node.name, work, recovery=recovery, annotations=annotations)
        task = task_from(
            node.name, sayings, partial(self._graph.files_of, node), self._report, at_node
        )
        return task

    def _node_type(self, sayings: Sayings) -> dict[str, str]:
        said = sayings.get("node_type")
        if said is None:
            return {}
        if said.text().lower() != "edg-jdl":
            message = f"{said.name}: nodes are jobs in this language, whatever is said of them"
            self._report.note(said, "NO_COUNTERPART", message)
        return {said.name: said.written}

    def _max_running(self) -> int | None:
        first = None
        for word in ("max_running_nodes", "max_nodes_running"):
            said = self._sayings.get(word)
            if said is None:
                continue
            number = said.integer()
            if number < 1:
                message = f"{number} is taken as no bound"
                self._report.note(said, "OUT_OF_RANGE", message)
            elif first is None:
                first = number
            elif first != number:
                message = f"max_running_nodes holds, not {said.name}"
                self._report.note(said, "CONFLICT", message)
        return first

    def _report_unused(self) -> None:
        described = [node.description for node in self._nodes if node.description is not None]
        for word, said in self._sayings.items():
            if word not in self._dag or word in self._graph.referred:
                continue
            if all(word in description for description in described):
                message = f"{said.name}: every node has its own, so this one holds for none"
                self._report.note(said, "UNUSED", message, "info")


def _is_inherited(word: str, said: Said) -> bool:
    if word in ("requirements", "rank"):
        # What is about GLUE is kept of the dag, not of each of its nodes.
        return not is_about_glue(said.written)
    return word in INHERITED
