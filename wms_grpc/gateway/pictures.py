"""What is drawn of a workflow: its net, or its tasks and what they wait for.

A picture is nodes and edges; `dot_writer` and `mermaid_writer` only spell it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from wms_grpc.domain.nets import Arc, Net, Place, Token
from wms_grpc.gateway.model import Workflow
from wms_grpc.gateway.xml_tokens import string_of

__all__ = ["Edge", "Node", "Picture", "Subject", "picture_of"]

Subject = Literal["net", "tasks"]
"""`tasks` draws the DAG of tasks; a workflow that was given as a net is drawn as one anyway."""

Shape = Literal["task", "place", "marked", "queue", "silent", "join"]


_MAX_VALUE: Final = 40


@dataclass(frozen=True, slots=True)
class Node:
    """`note` is a second line, `state` what its task is doing."""

    label: str
    shape: Shape
    note: str = ""
    state: str = ""


@dataclass(frozen=True, slots=True)
class Edge:
    """From a node to another, by their numbers. `both`: the tokens stay."""

    source: int
    target: int
    label: str = ""
    both: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """A graph with a name."""

    name: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


def picture_of(
    workflow: Workflow, subject: Subject = "tasks", states: Mapping[str, str] | None = None
) -> Picture:
    """Return what is drawn. `states` are those of the tasks, by name."""
    known = states or {}
    if workflow.given_net is not None or subject == "net":
        nodes, edges = _net(workflow.net, known)
    else:
        nodes, edges = _tasks(workflow, known)
    return Picture(workflow.name, tuple(nodes), tuple(edges))


def _tasks(workflow: Workflow, states: Mapping[str, str]) -> tuple[list[Node], list[Edge]]:
    nodes: list[Node] = []
    numbers: dict[str, int] = {}
    for task in workflow.tasks:
        numbers[task.name] = len(nodes)
        note = "" if task.role == "node" else task.role
        nodes.append(Node(task.name, "task", note, states.get(task.name, "")))
    edges: list[Edge] = []
    for dependency in workflow.dependencies:
        parents = [numbers[name] for name in dependency.parents]
        children = [numbers[name] for name in dependency.children]
        if len(parents) > 1 and len(children) > 1:
            # One point instead of a line for each pair.
            join = len(nodes)
            nodes.append(Node("", "join"))
            edges.extend(Edge(parent, join) for parent in parents)
            edges.extend(Edge(join, child) for child in children)
        else:
            edges.extend(Edge(p, c) for p in parents for c in children)
    return nodes, edges


def _net(net: Net, states: Mapping[str, str]) -> tuple[list[Node], list[Edge]]:
    def given_ids(name: str) -> str:
        """Ids of a net that was given as one say something; those of a DAG's net do not."""
        return name if net.language else ""

    nodes: list[Node] = []
    numbers: dict[tuple[str, str], int] = {}
    for place in net.places:
        numbers["place", place.id] = len(nodes)
        nodes.append(_place(place, place.name or given_ids(place.id)))
    for transition in net.transitions:
        numbers["transition", transition.id] = len(nodes)
        state = states.get(transition.task or "", "")
        note = " and ".join(transition.conditions)
        label = transition.name or given_ids(transition.id)
        shape: Shape = "task" if transition.task is not None or label else "silent"
        nodes.append(Node(label, shape, note, state))
    edges = []
    for arc in net.arcs:
        place_number = numbers["place", arc.place]
        transition_number = numbers["transition", arc.transition]
        ends = (place_number, transition_number)
        source, target = ends[::-1] if arc.mode in ("put", "write") else ends
        edges.append(Edge(source, target, "; ".join(_arc(arc)), arc.mode in ("read", "write")))
    return nodes, edges


def _arc(arc: Arc) -> Iterator[str]:
    if arc.mode in ("read", "write"):
        yield arc.mode
    if arc.weight > 1:
        yield str(arc.weight)
    if arc.expression:
        yield arc.expression


def _value(token: Token) -> str:
    """What a token says, in short; empty: no more than that it is there."""
    said = "" if token.value is None else string_of(token.value) or token.value
    return said if len(said) <= _MAX_VALUE else f"{said[:_MAX_VALUE]}…"


def _place(place: Place, label: str) -> Node:
    values = Counter(_value(token) for token in place.tokens)
    marks = [f"{n} × {value}" if n > 1 else value for value, n in values.items() if value]
    if values[""]:
        marks.insert(0, "●" if values[""] == 1 else f"{values['']} ●")
    if place.capacity is not None:
        marks.append(f"room for {place.capacity}")
    shape: Shape = "queue" if place.kind == "data" else "marked" if place.tokens else "place"
    return Node(label, shape, ", ".join(marks))
