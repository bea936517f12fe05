"""A net by numbers, for its analysis: what each transition takes, reads and puts.

Only the control part: data places belong to the broker, which moves their tokens by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from wms_grpc.domain.nets import Net

__all__ = ["IndexedNet", "Marking", "indexed", "reached"]

Marking = tuple[tuple[int, int], ...]
"""The places that have tokens, in order, each with their number."""


@dataclass(frozen=True)
class IndexedNet:
    """A net whose places and transitions are numbers.

    `place_names` and `transition_names` are what people call them: for a transition the name of
    its task, where it has one; those of `unnamed` have neither name nor task. `takes`, `reads`
    and `puts` have for each transition the places and how many tokens. What is written must be
    there and stays, so it counts as read; what is read are other tokens than those taken.
    """

    place_names: Sequence[str]
    transition_names: Sequence[str]
    takes: Sequence[Mapping[int, int]]
    reads: Sequence[Mapping[int, int]]
    puts: Sequence[Mapping[int, int]]
    capacities: Mapping[int, int]
    marking: Marking
    has_conditions: bool
    unnamed: frozenset[int] = frozenset()

    @cached_property
    def is_ordinary(self) -> bool:
        """Whether arcs only take or put, one token each, and every place has room."""
        return (
            not self.capacities
            and not any(self.reads)
            and all(
                weight == 1
                for arcs in (self.takes, self.puts)
                for a in arcs
                for weight in a.values()
            )
        )

    @cached_property
    def consumers(self) -> Sequence[Sequence[int]]:
        """For each place, the transitions that take from it."""
        return self._turned(self.takes)

    @cached_property
    def producers(self) -> Sequence[Sequence[int]]:
        """For each place, the transitions that put into it."""
        return self._turned(self.puts)

    @cached_property
    def into(self) -> Sequence[Sequence[int]]:
        """For each place, the transitions that an arc comes from; reading is taking and giving."""
        return self._turned(self.puts, self.reads)

    @cached_property
    def out_of(self) -> Sequence[Sequence[int]]:
        """For each place, the transitions that an arc goes to; reading is taking and giving."""
        return self._turned(self.takes, self.reads)

    @cached_property
    def sources(self) -> Sequence[int]:
        """The places that nothing puts into."""
        return [place for place, arcs in enumerate(self.into) if not arcs]

    @cached_property
    def sinks(self) -> Sequence[int]:
        """The places that nothing takes from."""
        return [place for place, arcs in enumerate(self.out_of) if not arcs]

    @property
    def size(self) -> int:
        """How many places and transitions there are."""
        return len(self.place_names) + len(self.transition_names)

    def _turned(self, *sides: Sequence[Mapping[int, int]]) -> list[list[int]]:
        by_place: list[list[int]] = [[] for _ in self.place_names]
        for transition in range(len(self.transition_names)):
            for place in dict.fromkeys(p for side in sides for p in side[transition]):
                by_place[place].append(transition)
        return by_place


def indexed(net: Net) -> IndexedNet:
    """Return the control part of a net, whose arcs and ids are in order."""
    places = [place for place in net.places if place.kind == "control"]
    place_of = {place.id: number for number, place in enumerate(places)}
    transition_of = {transition.id: number for number, transition in enumerate(net.transitions)}
    sides: dict[str, list[dict[int, int]]] = {
        mode: [{} for _ in transition_of] for mode in ("take", "read", "put", "write")
    }
    for arc in net.arcs:
        if (place := place_of.get(arc.place)) is not None:
            weights = sides[arc.mode][transition_of[arc.transition]]
            weights[place] = weights.get(place, 0) + arc.weight
    return IndexedNet(
        place_names=[place.name or place.id for place in places],
        transition_names=[t.task or t.name or t.id for t in net.transitions],
        takes=sides["take"],
        reads=[_larger(*both) for both in zip(sides["read"], sides["write"], strict=True)],
        puts=sides["put"],
        capacities={i: p.capacity for i, p in enumerate(places) if p.capacity is not None},
        marking=tuple((i, len(p.tokens)) for i, p in enumerate(places) if p.tokens),
        has_conditions=any(transition.conditions for transition in net.transitions),
        unnamed=frozenset(
            i for i, t in enumerate(net.transitions) if not t.name and t.task is None
        ),
    )


def _larger(one: Mapping[int, int], other: Mapping[int, int]) -> Mapping[int, int]:
    if not other:
        return one
    return {place: max(one.get(place, 0), other.get(place, 0)) for place in {**one, **other}}


def reached(starts: Iterable[int], neighbours: Sequence[Iterable[int]]) -> set[int]:
    """Return the nodes of a graph that are reached from some of them, these included."""
    seen = set(starts)
    waiting = list(seen)
    while waiting:
        for other in neighbours[waiting.pop()]:
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    return seen
