"""Mermaid: a picture of a workflow that Markdown shows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from wms_grpc.gateway.dot_writer import STATE_COLORS
from wms_grpc.gateway.model import Bundle, Workflow, Written
from wms_grpc.gateway.pictures import Edge, Node, Picture, Subject, picture_of
from wms_grpc.gateway.xml_text import file_name

__all__ = ["MermaidWriter"]

_SHAPES: Final[Mapping[str, tuple[str, str]]] = {
    "task": ("[", "]"),
    "place": ("((", "))"),
    "marked": ("(((", ")))"),
    "queue": ("[(", ")]"),
    "silent": ("[", "]"),
    "join": ("((", "))"),
}
_PLAIN: Final = re.compile(r"[^\w .,:/+()-]")


class MermaidWriter:
    """Draws the tasks, or the net.

    `states` are those of tasks, by name; a task is filled as in DOT.
    """

    def __init__(self, subject: Subject = "tasks", states: Mapping[str, str] | None = None) -> None:
        self._subject: Subject = subject
        self._states = states

    @property
    def name(self) -> str:
        return "mermaid"

    def write(self, workflow: Workflow) -> Written:
        picture = picture_of(workflow, self._subject, self._states)
        path = f"{file_name(workflow.name)}.mmd"
        text = "\n".join(_lines(picture)) + "\n"
        return Written(Bundle({path: text.encode("utf-8", "replace")}, path))


def _lines(picture: Picture) -> Iterator[str]:
    yield "flowchart TD"
    for number, node in enumerate(picture.nodes):
        opening, closing = _SHAPES[node.shape]
        yield f'  n{number}{opening}"{_label(node)}"{closing}'
    for edge in picture.edges:
        yield f"  n{edge.source} {_arrow(edge)} n{edge.target}"
    yield from _states(picture)


def _states(picture: Picture) -> Iterator[str]:
    """A class for each state that is drawn, and the nodes that are in it."""
    by_state: dict[str, list[int]] = {}
    for number, node in enumerate(picture.nodes):
        if node.state.lower() in STATE_COLORS:
            by_state.setdefault(node.state.lower(), []).append(number)
    for state, numbers in by_state.items():
        yield f"  classDef {state} fill:{STATE_COLORS[state]}"
        yield f"  class {','.join(f'n{number}' for number in numbers)} {state}"


def _label(node: Node) -> str:
    lines = [_escaped(text) for text in (node.label, node.note, node.state) if text]
    return "<br/>".join(lines) or " "


def _arrow(edge: Edge) -> str:
    arrow = "<-.->" if edge.both else "-->"
    return f'{arrow}|"{_escaped(edge.label)}"|' if edge.label else arrow


def _escaped(text: str) -> str:
    """Mermaid knows characters by number; in a label that is safe for all of them."""
    single = " ".join(text.split())
    return _PLAIN.sub(lambda match: f"#{ord(match[0])};", single)
