"""Looks for a cycle among the dependencies of a DAG. Linear in nodes and dependencies."""

from __future__ import annotations

from collections import defaultdict

from wms_grpc.gateway.dagman.graph import Edge, Graph
from wms_grpc.gateway.dagman.text import Findings

__all__ = ["report_cycle"]

_SHOWN = 20


def report_cycle(graph: Graph, findings: Findings) -> None:
    """Add an error that names the nodes of a cycle, at the line that closes it, if there is one.

    In DAGMan, a DAG with a cycle and a FINAL node runs that node; here no part of it runs.
    """
    left = _left_over(list(graph.edges.values()))
    if not left:
        return
    names, edges = _cycle(left)
    last = max(edges, key=lambda edge: (edge.position.file, edge.position.line))
    shown = names if len(names) <= _SHOWN else [*names[:_SHOWN], "…"]
    message = f"a cycle: {' -> '.join([*shown, names[0]])}"
    findings.add("CYCLE", message, last.position, names[0], "error")


def _left_over(edges: list[Edge]) -> list[Edge]:
    """Return the dependencies that are still there when all that can be ordered is taken away."""
    n_missing = {index: len(edge.dependency.parents) for index, edge in enumerate(edges)}
    n_before: dict[str, int] = defaultdict(int)
    behind: dict[str, list[int]] = defaultdict(list)
    for index, edge in enumerate(edges):
        for parent in edge.dependency.parents:
            behind[parent].append(index)
        for child in edge.dependency.children:
            n_before[child] += 1
    ready = [name for name in behind if not n_before[name]]
    while ready:
        for index in behind[ready.pop()]:
            n_missing[index] -= 1
            if n_missing[index]:
                continue
            for child in edges[index].dependency.children:
                n_before[child] -= 1
                if not n_before[child]:
                    ready.append(child)
    return [edge for index, edge in enumerate(edges) if n_missing[index]]


def _cycle(edges: list[Edge]) -> tuple[list[str], list[Edge]]:
    """Return the names on a cycle in their order, and the dependencies between them.

    Each child of what is left waits for one of its parents that is left too: going from child to
    parent never ends, so it meets itself.
    """
    into: dict[str, Edge] = {}
    for edge in edges:
        for child in edge.dependency.children:
            into.setdefault(child, edge)
    name = next(iter(into))
    at: dict[str, int] = {}
    path: list[str] = []
    while name not in at:
        at[name] = len(path)
        path.append(name)
        name = next(parent for parent in into[name].dependency.parents if parent in into)
    names = path[at[name] :]
    return names[::-1], [into[each] for each in names]
