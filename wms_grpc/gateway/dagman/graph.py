"""The graph that the DAG files of a bundle make: nodes with what is said of them, and edges.

A node's full name has the names of the splices around it before it, joined by `+`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from wms_grpc.domain.nets import Dependency
from wms_grpc.gateway.dagman.commands import (
    Abort,
    Description,
    NodeDefinition,
    Retry,
    SavePoint,
    ScriptCommand,
    Setting,
    Tolerance,
    Vars,
)
from wms_grpc.gateway.model import Position

__all__ = ["Edge", "Graph", "Node", "Scope"]


@dataclass(slots=True, eq=False)
class Node:
    """A node, and what its DAG says of it; of a command that is repeated, the last one."""

    name: str
    definition: NodeDefinition
    folder: str
    scope: Scope
    scripts: dict[str, ScriptCommand] = field(default_factory=dict)
    variables: list[Vars] = field(default_factory=list)
    retry: Retry | None = None
    abort: Abort | None = None
    pre_skip: int | None = None
    tolerance: Tolerance | None = None
    save_point: SavePoint | None = None
    priority: int = 0
    category: str = ""
    is_done: bool = False
    has_parents: bool = False
    has_children: bool = False


@dataclass(slots=True, eq=False)
class Scope:
    """One DAG file, or one splice of it: what its names mean.

    `initial` and `final` are the nodes without parents and without children once it is read, those
    of its splices too.
    """

    prefix: str
    folder: str
    outer: Scope | None
    depth: int
    nodes: dict[str, Node] = field(default_factory=dict)
    splices: dict[str, Scope] = field(default_factory=dict)
    descriptions: dict[str, Description] = field(default_factory=dict)
    pins_in: dict[int, list[Node]] = field(default_factory=dict)
    pins_out: dict[int, list[Node]] = field(default_factory=dict)
    initial: list[Node] = field(default_factory=list)
    final: list[Node] = field(default_factory=list)
    is_connected: bool = False

    def found(self, name: str) -> Node | Scope | None:
        """Return the node or splice of that name, here or within a splice."""
        here = self.nodes.get(name) or self.splices.get(name)
        if here is not None:
            return here
        at = name.find("+")
        while at >= 0:
            splice = self.splices.get(name[:at])
            if splice is not None and (there := splice.found(name[at + 1 :])):
                return there
            at = name.find("+", at + 1)
        return None

    def description(self, name: str) -> Description | None:
        """Return the submit description of that name, of this DAG or one around it."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.descriptions:
                return scope.descriptions[name]
            scope = scope.outer
        return None


@dataclass(frozen=True, slots=True)
class Edge:
    """A dependency, and where it is said; `is_weak`: of the parents' ends, not their success."""

    dependency: Dependency
    is_weak: bool
    position: Position


@dataclass(slots=True)
class Graph:
    """All that the files say."""

    top: Scope
    nodes: list[Node] = field(default_factory=list)
    edges: dict[Dependency, Edge] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)
    settings: list[Setting] = field(default_factory=list)
    pins: list[tuple[str, str, int]] = field(default_factory=list)
