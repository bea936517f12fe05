"""Graphviz DOT: a picture of a workflow, for `dot -Tsvg`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from wms_grpc.gateway.model import Bundle, Workflow, Written
from wms_grpc.gateway.pictures import Edge, Node, Picture, Subject, picture_of
from wms_grpc.gateway.xml_text import file_name

__all__ = ["STATE_COLORS", "DotWriter"]

STATE_COLORS: Final[Mapping[str, str]] = {
    "waiting": "#eeeeee",
    "running": "#cfe8ff",
    "done": "#d3f2d3",
    "failed": "#ffd2cc",
    "skipped": "#f4ecc8",
}
"""How a task is filled, by its state; of any other state it is white."""

_SHAPES: Final[Mapping[str, str]] = {
    "task": "shape=box",
    "place": "shape=circle",
    "marked": "shape=circle, penwidth=2",
    "queue": "shape=cylinder",
    "silent": 'shape=box, style=filled, fillcolor=black, label="", height=0.1, width=0.4',
    "join": "shape=point",
}


class DotWriter:
    """Draws the tasks, or the net.

    `states` are those of tasks, by name, in the words of `STATE_COLORS` or any others.
    """

    def __init__(self, subject: Subject = "tasks", states: Mapping[str, str] | None = None) -> None:
        self._subject: Subject = subject
        self._states = states

    @property
    def name(self) -> str:
        return "dot"

    def write(self, workflow: Workflow) -> Written:
        picture = picture_of(workflow, self._subject, self._states)
        path = f"{file_name(workflow.name)}.dot"
        text = "\n".join(_lines(picture)) + "\n"
        return Written(Bundle({path: text.encode("utf-8", "replace")}, path))


def _lines(picture: Picture) -> Iterator[str]:
    yield f"digraph {_quoted(picture.name)} {{"
    yield "  node [fontname=Helvetica, fontsize=10];"
    yield "  edge [fontname=Helvetica, fontsize=9];"
    for number, node in enumerate(picture.nodes):
        yield f"  n{number} [{_node(node)}];"
    for edge in picture.edges:
        yield f"  n{edge.source} -> n{edge.target}{_edge(edge)};"
    yield "}"


def _node(node: Node) -> str:
    if node.shape == "silent" and not node.note:
        return _SHAPES["silent"]
    lines = [text for text in (node.label, node.note, node.state) if text]
    said = [_SHAPES[node.shape if node.shape != "silent" else "task"]]
    said.append(f"label={_quoted(*lines)}")
    if node.state:
        color = STATE_COLORS.get(node.state.lower(), "white")
        said.append(f'style=filled, fillcolor="{color}"')
    return ", ".join(said)


def _edge(edge: Edge) -> str:
    said = [f"label={_quoted(edge.label)}"] if edge.label else []
    if edge.both:
        said.append("dir=both, style=dashed")
    return f" [{', '.join(said)}]" if said else ""


def _quoted(*lines: str) -> str:
    """A quoted string of several lines; a backslash in it is a backslash."""
    escaped = (line.replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    text = "\\n".join("\\n".join(line.splitlines()) for line in escaped)
    return f'"{text.replace(chr(0), "")}"'
