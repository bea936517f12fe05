"""What waits for what, as a graph: cycles, how wide a workflow is, and its longest path.

A dependency of many on many is one node between them, as it is one join in the net, so all of it
is linear in what was written down.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import rustworkx as rx

from wms_grpc.domain.nets import Dependency, Net

__all__ = ["Graph", "Shape", "cycles", "graph_of_dependencies", "graph_of_net", "shape"]


@dataclass(frozen=True, slots=True)
class Graph:
    """A graph of tasks; those at the end of `names` that are None are joins between them."""

    names: Sequence[str | None]
    graph: rx.PyDiGraph[int, None]


@dataclass(frozen=True, slots=True)
class Shape:
    """How wide and how long a workflow without cycles is.

    Parameters
    ----------
    width, level
        The most tasks of one level, and which that is, from 1. A task's level is the number of
        tasks on the longest way to it. Those of one level do not wait for one another.
    critical_path
        The tasks of the longest way, by durations where they are known and else by number.
    seconds
        How long it takes at least, as far as is known.
    n_unknown
        How many tasks of the path have no known duration.
    """

    width: int
    level: int
    n_levels: int
    critical_path: tuple[str, ...]
    seconds: float
    n_unknown: int


def graph_of_dependencies(names: Sequence[str], dependencies: Iterable[Dependency]) -> Graph:
    """Return the graph; names that are not among the tasks are left out."""
    number_of = {name: number for number, name in enumerate(names)}
    all_names: list[str | None] = list(names)
    edges: list[tuple[int, int]] = []
    for dependency in dependencies:
        parents = [number_of[name] for name in dependency.parents if name in number_of]
        children = [number_of[name] for name in dependency.children if name in number_of]
        if len(parents) > 1 and len(children) > 1:
            join = len(all_names)
            all_names.append(None)
            edges.extend((parent, join) for parent in parents)
            edges.extend((join, child) for child in children)
        else:
            edges.extend((parent, child) for parent in parents for child in children)
    return _graph(all_names, edges)


def graph_of_net(net: Net) -> Graph | None:
    """Return the graph of a net in which nothing is chosen; None for another one."""
    puts: dict[str, str] = {}
    takes: dict[str, str] = {}
    for arc in net.arcs:
        side = {"put": puts, "take": takes}.get(arc.mode)
        if side is None or side.setdefault(arc.place, arc.transition) != arc.transition:
            return None
    number_of = {transition.id: number for number, transition in enumerate(net.transitions)}
    edges = [(number_of[t], number_of[takes[place]]) for place, t in puts.items() if place in takes]
    return _graph([transition.task for transition in net.transitions], edges)


def _graph(names: Sequence[str | None], edges: Sequence[tuple[int, int]]) -> Graph:
    graph: rx.PyDiGraph[int, None] = rx.PyDiGraph(multigraph=False)
    graph.add_nodes_from(range(len(names)))
    graph.add_edges_from_no_data(edges)
    return Graph(names, graph)


_MOST_COUNTED: Final = 10


def cycles(graph: Graph, most: int = 100) -> list[tuple[list[str], int]]:
    """Return one cycle of each knot of tasks that wait for themselves, in the order of waiting.

    With the first ones the number of tasks outside that can never start because of the knot; of
    knots beyond `most` one task only.
    """
    if rx.is_directed_acyclic_graph(graph.graph):
        return []
    knots = sorted(
        sorted(component)
        for component in rx.strongly_connected_components(graph.graph)
        if len(component) > 1 or graph.graph.has_edge(component[0], component[0])
    )
    found = []
    for number, knot in enumerate(knots[:most]):
        n_behind = 0
        if number < _MOST_COUNTED:
            behind = rx.descendants(graph.graph, knot[0]) - set(knot)
            n_behind = len(_names(graph, list(behind)))
        found.append((_names(graph, _ring(graph, knot)), n_behind))
    return found + [(_names(graph, knot[:1]), 0) for knot in knots[most:]]


def _names(graph: Graph, nodes: Sequence[int]) -> list[str]:
    return [name for node in nodes if (name := graph.names[node]) is not None]


def _ring(graph: Graph, component: Sequence[int]) -> list[int]:
    """Return the nodes of a shortest cycle through the first task of a strong component."""
    first = min(component)
    inside = set(component)
    came_from: dict[int, int] = {}
    waiting = [first]
    for node in waiting:
        for after in sorted(graph.graph.successor_indices(node)):
            if after == first:
                ring = [node]
                while ring[-1] != first:
                    ring.append(came_from[ring[-1]])
                return ring[::-1]
            if after in inside and after not in came_from:
                came_from[after] = node
                waiting.append(after)
    return [first]


def shape(graph: Graph, durations: Mapping[str, float]) -> Shape | None:
    """Return the shape; None for a graph with cycles or without tasks."""
    if not rx.is_directed_acyclic_graph(graph.graph):
        return None
    order = rx.topological_sort(graph.graph)
    is_task = [name is not None for name in graph.names]
    seconds = [durations.get(name, 0.0) if name is not None else 0.0 for name in graph.names]
    levels = [0] * len(is_task)
    longest: list[tuple[float, int]] = [(0.0, 0)] * len(is_task)
    before: list[int] = [-1] * len(is_task)
    for node in order:
        levels[node] += is_task[node]
        longest[node] = (longest[node][0] + seconds[node], longest[node][1] + is_task[node])
        for after in graph.graph.successor_indices(node):
            levels[after] = max(levels[after], levels[node])
            rank = (*longest[node], -node)
            if before[after] < 0 or rank > (*longest[after], -before[after]):
                longest[after] = longest[node]
                before[after] = node
    if not any(is_task):
        return None
    return _shape(graph, durations, levels, longest, before)


def _shape(
    graph: Graph,
    durations: Mapping[str, float],
    levels: Sequence[int],
    longest: Sequence[tuple[float, int]],
    before: Sequence[int],
) -> Shape:
    counts = [0] * (max(levels) + 1)
    for name, level in zip(graph.names, levels, strict=True):
        if name is not None:
            counts[level] += 1
    widest = max(range(len(counts)), key=lambda level: counts[level])
    node = max(range(len(longest)), key=lambda node: (longest[node], -node))
    total = longest[node][0]
    path: list[str] = []
    while node >= 0:
        if (name := graph.names[node]) is not None:
            path.append(name)
        node = before[node]
    n_unknown = sum(name not in durations for name in path)
    return Shape(counts[widest], widest, len(counts) - 1, tuple(path[::-1]), total, n_unknown)
