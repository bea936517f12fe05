"""The nodes of a dag or of a collection: what each is called, and what is said of it."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass

from wms_grpc.gateway.jdl_said import Report, Said, Sayings, sayings_of
from wms_grpc.gateway.jdl_syntax import List, Record, Value, parse_jdl
from wms_grpc.gateway.model import MAX_NODES, Bundle, Refused
from wms_grpc.gateway.sources import Source

__all__ = ["Node", "kind_of", "nodes_of"]

_OF_A_NODE = ("description", "file", "nodename", "node_retry_count", "node_type", "type")


@dataclass(frozen=True, slots=True)
class Node:
    """A node. `key` is what others call it, in lower case; `said` stands where it begins.

    `description` is None where the node is a file that is missing or that is a workflow; `file` is
    its path then.
    """

    key: str
    name: str
    source: Source
    start: int
    own: Sayings
    description: Sayings | None
    file: str = ""
    is_workflow: bool = False
    described_in: Source | None = None


def kind_of(sayings: Sayings) -> str:
    """Return `job`, `parametric`, `dag` or `collection`. Raises Refused for another type."""
    said = sayings.get("type")
    kind = said.text().lower() if said else "job"
    job_type = sayings.get("jobtype")
    job_types = [text.lower() for text in job_type.texts()] if job_type else []
    if kind == "job" and "parametric" in job_types:
        return "parametric"
    if said is None and "nodes" in sayings:
        return "dag"
    if said is not None and kind not in ("job", "dag", "collection"):
        raise said.refused("UNKNOWN_TYPE", "Type must be Job, DAG or Collection")
    return kind


def nodes_of(nodes: Said, bundle: Bundle, report: Report) -> list[Node]:
    """Return the nodes, in the order of the file. Raises Refused for names that are not unique."""
    return _Nodes(nodes, bundle, report).read()


class _Nodes:
    def __init__(self, nodes: Said, bundle: Bundle, report: Report) -> None:
        self._nodes = nodes
        self._source = nodes.source
        self._bundle = bundle
        self._report = report
        self._files: dict[str, tuple[Source, Sayings] | None] = {}

    def read(self) -> list[Node]:
        """Read them."""
        found: list[Node] = []
        keys: dict[str, int] = {}
        names: set[str] = set()
        for key, record, start in self._records():
            if len(found) >= MAX_NODES:
                raise self._refused("TOO_LARGE", f"more than {MAX_NODES} nodes", start)
            node = self._node(key, len(found), record, start, names)
            if node.key in keys or node.name in names:
                first = self._source.position(keys.get(node.key, start)).line
                message = (
                    f"{node.name} names a node in line {first} already; "
                    "upper and lower case do not differ"
                )
                raise self._refused("DUPLICATE_NAME", message, start, node.name)
            keys[node.key] = start
            names.add(node.name)
            found.append(node)
        return found

    def _records(self) -> Iterator[tuple[str, Record, int]]:
        value = self._nodes.value
        if isinstance(value, Record):
            for attribute in value.attributes:
                if attribute.name.lower() != "dependencies":
                    record = self._record(attribute.value)
                    yield attribute.name, record, attribute.start
        elif isinstance(value, List):
            for item in value.items:
                yield "", self._record(item), item.start
        else:
            raise self._nodes.refused("WRONG_TYPE", "nodes must be a record or a list of records")

    def _record(self, value: Value) -> Record:
        if isinstance(value, Record):
            return value
        raise self._refused("WRONG_TYPE", "a node must be a record, [ … ]", value.start)

    def _node(self, key: str, number: int, record: Record, start: int, names: set[str]) -> Node:
        said = sayings_of(self._source, record.attributes, self._report)
        name = said["nodename"].text() if "nodename" in said else key
        if not name:
            name = f"Node_{number}"
            while name in names:
                name += "_"
        key = (key or name).lower()
        description, file = said.get("description"), said.get("file")
        if description is not None and file is not None:
            message = "a node has a description or a file, not both"
            raise file.refused("CONFLICT", message, file.start)
        if file is not None:
            return self._from_file(key, name, start, said, file)
        if description is not None:
            inner = description.record().attributes
            described = sayings_of(self._source, inner, self._report)
            self._check_kind(described, start)
            own: Sayings = {word: part for word, part in said.items() if word != "description"}
            return Node(key, name, self._source, start, own, described)
        own = {word: said[word] for word in _OF_A_NODE if word in said and word != "type"}
        described = {word: part for word, part in said.items() if word not in own}
        self._check_kind(described, start)
        return Node(key, name, self._source, start, own, described)

    def _from_file(self, key: str, name: str, start: int, said: Sayings, file: Said) -> Node:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(self._bundle.main), file.text()))
        own = {word: part for word, part in said.items() if word != "file"}
        if path not in self._files:
            self._files[path] = self._parsed(path)
        parsed = self._files[path]
        if parsed is None:
            message = f"{path} is not in the bundle; the workflow cannot be submitted without it"
            self._report.note(file, "MISSING_FILE", message, "error")
            return Node(key, name, self._source, start, own, None, file=file.text())
        source, described = parsed
        if kind_of(described) != "job":
            return Node(key, name, self._source, start, own, None, file=path, is_workflow=True)
        return Node(key, name, self._source, start, own, described, described_in=source)

    def _parsed(self, path: str) -> tuple[Source, Sayings] | None:
        data = self._bundle.files.get(path)
        if data is None:
            return None
        source = Source.decoded(path, data)
        return source, sayings_of(source, parse_jdl(source).attributes, self._report)

    def _check_kind(self, described: Sayings, start: int) -> None:
        if kind_of(described) != "job":
            message = "a node that is itself a workflow must be a file of its own"
            raise self._refused("NESTED_WORKFLOW", message, start)

    def _refused(self, code: str, message: str, start: int, subject: str = "") -> Refused:
        return self._source.refused(code, message, start, subject)
