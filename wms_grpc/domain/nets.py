"""Petri nets: places, transitions, arcs, and the net that a set of dependencies stands for.

Pure values. A *data place* is a message queue, whose tokens the broker moves; a *control place* is
an ordering, whose tokens the engine moves. A transition without a task is silent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

__all__ = [
    "END",
    "INIT",
    "Annotations",
    "Arc",
    "ArcMode",
    "Dependency",
    "Net",
    "Place",
    "PlaceKind",
    "Token",
    "Transition",
    "net_of_dependencies",
]

Annotations = Mapping[str, object]
"""What a language says beyond the model, as values that JSON knows, by the language's own names."""

PlaceKind = Literal["control", "data"]

ArcMode = Literal["take", "read", "put", "write"]
"""`take` consumes and `put` produces; `read` tests and leaves; `write` replaces what is there."""

INIT: Final = "init"
END: Final = "end"


@dataclass(frozen=True, slots=True)
class Token:
    """A token: black (None), or coloured by a value in the text of its language (XML, say)."""

    value: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """A place. `capacity` bounds its tokens; None: any number."""

    id: str
    name: str = ""
    kind: PlaceKind = "control"
    capacity: int | None = None
    tokens: tuple[Token, ...] = ()
    annotations: Annotations = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Transition:
    """A transition. It may occur when all `conditions` hold; `task` is None for a silent one."""

    id: str
    name: str = ""
    task: str | None = None
    conditions: tuple[str, ...] = ()
    annotations: Annotations = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Arc:
    """Joins a place and a transition, for `weight` tokens at a time.

    `expression` names the variable that a token is bound to, or gives the value of one that is
    put; what it means is the matter of the net's language.
    """

    place: str
    transition: str
    mode: ArcMode
    weight: int = 1
    expression: str = ""


@dataclass(frozen=True, slots=True)
class Net:
    """A net with its initial marking. Ids of places and of transitions are unique each."""

    places: tuple[Place, ...]
    transitions: tuple[Transition, ...]
    arcs: tuple[Arc, ...]
    language: str = ""
    annotations: Annotations = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Dependency:
    """Each of the children waits for all of the parents; names of tasks, none of them twice."""

    parents: tuple[str, ...]
    children: tuple[str, ...]


def net_of_dependencies(names: Sequence[str], dependencies: Iterable[Dependency]) -> Net:
    """Return the net of tasks and what they wait for.

    One transition for each task, one place for each edge; a start place, marked with one token,
    and an end place. Several tasks without parents hang on a silent fork, several without children
    on a silent join. A dependency of many on many becomes one silent join, not a place for each
    pair. Linear in tasks and dependencies.

    Raises KeyError for a name that is not among the tasks.
    """
    builder = _DagBuilder(names)
    for dependency in dependencies:
        builder.depend(dependency)
    return builder.built()


class _DagBuilder:
    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._n_in = Counter(dict.fromkeys(names, 0))
        self._n_out = Counter(dict.fromkeys(names, 0))
        self._places: list[Place] = []
        self._transitions = [Transition(id=f"t:{name}", name=name, task=name) for name in names]
        self._arcs: list[Arc] = []
        self._n_joins = 0

    def depend(self, dependency: Dependency) -> None:
        """Add the places between parents and children."""
        parents, children = dependency.parents, dependency.children
        if len(parents) > 1 and len(children) > 1:
            self._n_joins += 1
            join = f"join:{self._n_joins}"
            self._transitions.append(Transition(id=join))
            for parent in parents:
                self._connect(self._out_of(parent), join)
            for child in children:
                self._connect(join, self._into(child))
            return
        for parent in parents:
            for child in children:
                self._connect(self._out_of(parent), self._into(child))

    def built(self) -> Net:
        """Add the start and the end, and return the net."""
        firsts = [f"t:{name}" for name in self._names if not self._n_in[name]]
        lasts = [f"t:{name}" for name in self._names if not self._n_out[name]]
        first = self._gathered("fork", firsts, is_fork=True)
        last = self._gathered("join", lasts, is_fork=False)
        self._places[:0] = [Place(id=INIT, name=INIT, tokens=(Token(),)), Place(id=END, name=END)]
        self._arcs.append(Arc(INIT, first, "take"))
        self._arcs.append(Arc(END, last, "put"))
        return Net(tuple(self._places), tuple(self._transitions), tuple(self._arcs))

    def _gathered(self, transition: str, tasks: Sequence[str], *, is_fork: bool) -> str:
        if len(tasks) == 1:
            return tasks[0]
        self._transitions.append(Transition(id=transition))
        for task in tasks:
            self._connect(*((transition, task) if is_fork else (task, transition)))
        return transition

    def _out_of(self, name: str) -> str:
        self._n_out[self._known(name)] += 1
        return f"t:{name}"

    def _into(self, name: str) -> str:
        self._n_in[self._known(name)] += 1
        return f"t:{name}"

    def _known(self, name: str) -> str:
        if name not in self._n_in:
            raise KeyError(name)
        return name

    def _connect(self, source: str, target: str) -> None:
        place = Place(id=f"p:{len(self._places) + 1}")
        self._places.append(place)
        self._arcs.append(Arc(place.id, source, "put"))
        self._arcs.append(Arc(place.id, target, "take"))
