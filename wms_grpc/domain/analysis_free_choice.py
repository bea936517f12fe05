"""Soundness of free-choice workflow nets by the rank theorem, exactly and in polynomial time.

A workflow net is sound if and only if the net with a transition from its end back to its start is
live and bounded (W. van der Aalst, *Verification of Workflow Nets*, 1997). Of a strongly connected
free-choice net that can be told without a look at its markings (J. Desel and J. Esparza, *Free
Choice Petri Nets*, Cambridge 1995; chapters 4 to 6): it is well-formed if and only if

* it is covered by S-components, so there is a positive S-invariant;
* it is covered by T-components, so there is a positive T-invariant;
* the rank of its incidence matrix is the number of its clusters less one;

and then a marking makes it live and bounded if and only if every siphon has a token.

No linear programme is solved for the invariants: in a strongly connected free-choice net every
place lies in a minimal siphon that a search backwards finds, and in a well-formed one every
minimal siphon is an S-component. T-components are the S-components of the reverse dual. Ranks are
taken over the integers, without rounding. Free choice is meant in the extended sense: transitions
that share an input place share all of them.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import gcd

from wms_grpc.domain.analysis_nets import IndexedNet
from wms_grpc.domain.words import first_few

__all__ = ["Exhausted", "Flaw", "flaw_of_free_choice_net", "is_free_choice"]

_Arcs = Sequence[Sequence[int]]

_MOST_STEPS = 10_000_000


class Exhausted(Exception):
    """The net is within the bounds, and was still too much work."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """Why a net is not sound, and the place or transition where it shows."""

    reason: str
    subject: str


@dataclass(slots=True)
class _Graph:
    """The short-circuited net: inputs and outputs of transitions, and the same by places."""

    inputs: _Arcs
    outputs: _Arcs
    consumers: _Arcs
    producers: _Arcs
    n_steps: int = 0

    def spend(self, steps: int) -> None:
        self.n_steps += steps
        if self.n_steps > _MOST_STEPS:
            raise Exhausted

    def reverse_dual(self) -> _Graph:
        return _Graph(self.consumers, self.producers, self.inputs, self.outputs, self.n_steps)


def is_free_choice(net: IndexedNet) -> bool:
    """Whether transitions that share an input place share all of them."""
    return all(
        net.takes[transition].keys() == net.takes[consumers[0]].keys()
        for consumers in net.consumers
        for transition in consumers[1:]
    )


def flaw_of_free_choice_net(net: IndexedNet, source: int, sink: int) -> Flaw | None:
    """Return why a net is not sound; None: it is.

    The net is an ordinary free-choice workflow net with one token, which is in its source. Raises
    Exhausted.
    """
    graph = _short_circuited(net, source, sink)
    place = _not_covered(graph)
    if place is not None:
        return Flaw(
            "tokens get lost there, or become ever more: no part of the net around it keeps one",
            net.place_names[place],
        )
    dual = graph.reverse_dual()
    transition = _not_covered(dual)
    graph.n_steps = dual.n_steps
    if transition is not None:
        at = transition < len(net.transition_names)
        subject = net.transition_names[transition] if at else net.place_names[sink]
        return Flaw("it cannot be part of a run that leads back to where it began", subject)
    clusters: dict[tuple[int, ...], int] = {}
    for number, consumers in enumerate(graph.consumers):
        clusters.setdefault(tuple(sorted(consumers)), number)
    if _rank(graph) != len(clusters) - 1:
        return _choices_that_do_not_fit(graph, clusters.values(), net)
    empty = _siphon_without(graph, source)
    if empty:
        return Flaw("it has no token and never gets one", net.place_names[min(empty)])
    return None


def _choices_that_do_not_fit(graph: _Graph, firsts: Iterable[int], net: IndexedNet) -> Flaw:
    choices = [net.place_names[p] for p in firsts if len(graph.consumers[p]) > 1]
    shown = first_few(choices, 5)
    words = f"what is chosen at some places does not fit what is awaited at others: {shown}"
    return Flaw(words, choices[0] if choices else "")


def _short_circuited(net: IndexedNet, source: int, sink: int) -> _Graph:
    back = len(net.transition_names)
    consumers = [list(arcs) for arcs in net.consumers]
    producers = [list(arcs) for arcs in net.producers]
    consumers[sink].append(back)
    producers[source].append(back)
    return _Graph(
        inputs=[*(list(arcs) for arcs in net.takes), [sink]],
        outputs=[*(list(arcs) for arcs in net.puts), [source]],
        consumers=consumers,
        producers=producers,
    )


def _not_covered(graph: _Graph) -> int | None:
    covered: set[int] = set()
    for place in range(len(graph.consumers)):
        if place in covered:
            continue
        siphon = _minimal_siphon(graph, place)
        if siphon is None or not _is_s_component(graph, siphon):
            return place
        covered |= siphon
    return None


def _minimal_siphon(graph: _Graph, start: int) -> set[int] | None:
    """Return a minimal siphon with that place; None: the net is not strongly connected.

    What is there grows by shortest ways backwards, from a transition that puts into it to one
    that takes from it. In a free-choice net no transition then takes from two of its places.
    """
    siphon = {start}
    takers = set(graph.consumers[start])
    waiting = deque(graph.producers[start])
    while waiting:
        transition = waiting.popleft()
        if transition in takers:
            continue
        way = _way_back(graph, transition, takers.__contains__)
        if way is None:
            return None
        for place in way:
            siphon.add(place)
            takers.update(graph.consumers[place])
            waiting.extend(graph.producers[place])
    return siphon


def _way_back(graph: _Graph, start: int, is_there: Callable[[int], bool]) -> list[int] | None:
    came_by: dict[int, tuple[int, int]] = {}
    waiting = deque([start])
    seen_places: set[int] = set()
    while waiting:
        transition = waiting.popleft()
        for place in graph.inputs[transition]:
            if place in seen_places:
                continue
            seen_places.add(place)
            graph.spend(1 + len(graph.producers[place]))
            for before in graph.producers[place]:
                if before in came_by:
                    continue
                came_by[before] = (place, transition)
                if is_there(before):
                    return _places_of_way(came_by, before, start)
                waiting.append(before)
    return None


def _places_of_way(came_by: dict[int, tuple[int, int]], end: int, start: int) -> list[int]:
    way = []
    transition = end
    while True:
        place, transition = came_by[transition]
        way.append(place)
        if transition == start:
            return way


def _is_s_component(graph: _Graph, places: set[int]) -> bool:
    around = {t for p in places for t in (*graph.producers[p], *graph.consumers[p])}
    graph.spend(len(around))
    return all(
        sum(p in places for p in graph.inputs[t]) == 1
        and sum(p in places for p in graph.outputs[t]) == 1
        for t in around
    )


def _rank(graph: _Graph) -> int:
    """Return the rank of the incidence matrix, by elimination with whole numbers.

    The column with the fewest rows goes first, so that what is sparse stays so.
    """
    rows = [_effect(graph, transition) for transition in range(len(graph.inputs))]
    columns: list[set[int]] = [set() for _ in graph.consumers]
    for number, row in enumerate(rows):
        for place in row:
            columns[place].add(number)
    by_size = [(len(column), place) for place, column in enumerate(columns)]
    heapq.heapify(by_size)
    rank = 0
    while by_size:
        size, place = heapq.heappop(by_size)
        column = columns[place]
        if not column:
            continue
        if len(column) != size:
            heapq.heappush(by_size, (len(column), place))
            continue
        rank += 1
        _eliminate(graph, rows, columns, place)
    return rank


def _eliminate(
    graph: _Graph, rows: list[dict[int, int]], columns: list[set[int]], place: int
) -> None:
    pivot = min(columns[place], key=lambda number: (len(rows[number]), number))
    pivot_row = rows[pivot]
    for other in pivot_row:
        columns[other].discard(pivot)
    for number in list(columns[place]):
        row = rows[number]
        graph.spend(len(row) + len(pivot_row))
        ours, theirs = row[place], pivot_row[place]
        common = gcd(ours, theirs)
        new = {p: value * (theirs // common) for p, value in row.items()}
        for p, value in pivot_row.items():
            new[p] = new.get(p, 0) - value * (ours // common)
        new = {p: value for p, value in new.items() if value}
        for p in row.keys() - new.keys():
            columns[p].discard(number)
        for p in new.keys() - row.keys():
            columns[p].add(number)
        rows[number] = _smaller(new)


def _smaller(row: dict[int, int]) -> dict[int, int]:
    divisor = gcd(*row.values()) if row else 1
    return {p: value // divisor for p, value in row.items()} if divisor > 1 else row


def _effect(graph: _Graph, transition: int) -> dict[int, int]:
    effect: dict[int, int] = {}
    for place in graph.outputs[transition]:
        effect[place] = effect.get(place, 0) + 1
    for place in graph.inputs[transition]:
        effect[place] = effect.get(place, 0) - 1
    return {place: change for place, change in effect.items() if change}


def _siphon_without(graph: _Graph, marked: int) -> set[int]:
    """Return the greatest siphon that does not have the marked place."""
    siphon = set(range(len(graph.consumers))) - {marked}
    inside = [sum(place in siphon for place in inputs) for inputs in graph.inputs]
    waiting = [t for t, number in enumerate(inside) if not number]
    while waiting:
        for place in graph.outputs[waiting.pop()]:
            if place not in siphon:
                continue
            siphon.remove(place)
            for transition in graph.consumers[place]:
                inside[transition] -= 1
                if not inside[transition]:
                    waiting.append(transition)
    return siphon
