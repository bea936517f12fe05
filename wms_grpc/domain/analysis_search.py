"""What the markings of a net say, by a search of those that can be reached, within bounds.

What is found on the way is true even if the search ends early; only a search that has seen all of
them tells that something is not there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from wms_grpc.domain.analysis_nets import IndexedNet, Marking, reached

__all__ = ["MOST_MARKINGS", "MOST_SECONDS", "Search", "search"]

MOST_MARKINGS: Final = 100_000
MOST_SECONDS: Final = 2.0
_MOST_ENTRIES: Final = 4_000_000
"""Tokens' places in all markings that are kept: what they cost in memory."""
_LOOK_AT_CLOCK_AFTER: Final = 20_000
"""So many places looked at."""


@dataclass(slots=True)
class Search:
    """What a search has seen. Markings are numbers, in the order they were found."""

    markings: list[Marking] = field(default_factory=list)
    successors: list[list[int]] = field(default_factory=list)
    occurring: set[int] = field(default_factory=set)
    growing: Marking | None = None
    is_complete: bool = False

    def dead_ends(self) -> Iterator[Marking]:
        """Yield the markings in which nothing can occur; the last ones may not be looked at yet."""
        for number, successors in enumerate(self.successors):
            if not successors:
                yield self.markings[number]

    def stuck(self, is_end: Callable[[Marking], bool]) -> Iterator[Marking]:
        """Yield, of a complete search, the markings from which none of the ends is reached."""
        before: list[list[int]] = [[] for _ in self.markings]
        for number, successors in enumerate(self.successors):
            for successor in successors:
                before[successor].append(number)
        ends = [number for number, marking in enumerate(self.markings) if is_end(marking)]
        good = reached(ends, before)
        for number, marking in enumerate(self.markings):
            if number not in good:
                yield marking


def search(
    net: IndexedNet,
    most_markings: int = MOST_MARKINGS,
    most_seconds: float = MOST_SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> Search:
    """Return what is found among the markings that can be reached, the nearest first.

    It ends early at the bounds, and where tokens become ever more; that is looked for in nets whose
    places have room without bounds.
    """
    return _Searching(net, most_markings, clock() + most_seconds, clock).run()


class _Searching:
    def __init__(
        self, net: IndexedNet, most_markings: int, until: float, clock: Callable[[], float]
    ) -> None:
        self._net = net
        self._most_markings = most_markings
        self._until = until
        self._clock = clock
        self._seen = Search()
        self._numbers: dict[Marking, int] = {}
        self._found_from: list[int] = []
        self._n_entries = 0
        self._n_looked_at = 0
        self._can_grow = not net.capacities
        self._always, self._by_place = _triggers(net)

    def run(self) -> Search:
        seen = self._seen
        self._number_of(self._net.marking, -1)
        while len(seen.successors) < len(seen.markings):
            number = len(seen.successors)
            followers: list[int] = []
            for transition, after in self._steps(seen.markings[number]):
                seen.occurring.add(transition)
                followers.append(self._number_of(after, number))
                if seen.growing is not None or self._is_over(len(after)):
                    return seen
            if self._is_over(1):
                return seen
            seen.successors.append(followers)
        seen.is_complete = True
        return seen

    def _is_over(self, n_looked_at: int) -> bool:
        self._n_looked_at += n_looked_at
        if self._n_looked_at > _LOOK_AT_CLOCK_AFTER:
            self._n_looked_at = 0
            if self._clock() > self._until:
                return True
        return len(self._seen.markings) > self._most_markings or self._n_entries > _MOST_ENTRIES

    def _number_of(self, marking: Marking, found_from: int) -> int:
        number = self._numbers.get(marking)
        if number is None:
            number = self._numbers[marking] = len(self._seen.markings)
            self._seen.markings.append(marking)
            self._found_from.append(found_from)
            self._n_entries += len(marking)
            if self._can_grow and self._has_grown(marking, found_from):
                self._seen.growing = marking
        return number

    def _has_grown(self, marking: Marking, number: int) -> bool:
        """Whether it has all tokens of a marking that led to it, and more: it goes on so."""
        if number < 0:
            return False
        n_tokens = sum(count for _, count in marking)
        if n_tokens <= sum(count for _, count in self._seen.markings[number]):
            return False
        counts = dict(marking)
        while number >= 0:
            before = self._seen.markings[number]
            if len(before) <= len(counts) and all(
                counts.get(place, 0) >= count for place, count in before
            ):
                return True
            number = self._found_from[number]
        return False

    def _steps(self, marking: Marking) -> Iterator[tuple[int, Marking]]:
        counts = dict(marking)
        candidates = dict.fromkeys(self._always)
        for place in counts:
            candidates.update(dict.fromkeys(self._by_place[place]))
        for transition in candidates:
            after = self._after(counts, transition)
            if after is not None:
                yield transition, after

    def _after(self, counts: dict[int, int], transition: int) -> Marking | None:
        net = self._net
        takes, puts = net.takes[transition], net.puts[transition]
        for place, weight in takes.items():
            if counts.get(place, 0) < weight:
                return None
        for place, weight in net.reads[transition].items():
            if counts.get(place, 0) < weight + takes.get(place, 0):
                return None
        after = dict(counts)
        for place, weight in takes.items():
            after[place] -= weight
        for place, weight in puts.items():
            after[place] = after.get(place, 0) + weight
        if net.capacities and not self._has_room(after, transition):
            return None
        return tuple(sorted((place, count) for place, count in after.items() if count))

    def _has_room(self, after: dict[int, int], transition: int) -> bool:
        """Whether no place holds more than it may; only what has grown counts."""
        takes = self._net.takes[transition]
        return all(
            weight <= takes.get(place, 0) or after[place] <= self._net.capacities[place]
            for place, weight in self._net.puts[transition].items()
            if place in self._net.capacities
        )


def _triggers(net: IndexedNet) -> tuple[Sequence[int], Sequence[Sequence[int]]]:
    """Return the transitions that need nothing, and the others by one place that each needs."""
    always: list[int] = []
    by_place: list[list[int]] = [[] for _ in net.place_names]
    for transition, takes in enumerate(net.takes):
        place = next(iter(takes or net.reads[transition]), None)
        (always if place is None else by_place[place]).append(transition)
    return always, by_place
