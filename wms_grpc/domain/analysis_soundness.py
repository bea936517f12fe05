"""Whether a net is a workflow net, and a sound one: the end can always be reached, and then
nothing is left behind.

The cheapest method that is exact is taken. Nets with at most one arc into and one out of each
place, as those of DAGs are, and nets in which each transition has one of each, are told by their
shape in linear time; free-choice nets to a size by the rank theorem; all others by a search within
bounds. What cannot be told is `unknown`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import rustworkx as rx

from wms_grpc.domain.analysis_free_choice import (
    Exhausted,
    flaw_of_free_choice_net,
    is_free_choice,
)
from wms_grpc.domain.analysis_nets import IndexedNet, Marking, reached
from wms_grpc.domain.analysis_search import Search, search
from wms_grpc.domain.words import counted, first_few

__all__ = ["MOST_NODES_BY_RANK", "Soundness", "never_occurring", "soundness"]

MOST_NODES_BY_RANK: Final = 2_000

Outcome = Literal["sound", "unsound", "unknown", "not a workflow net"]


@dataclass(frozen=True, slots=True)
class Soundness:
    """What is known, why, and the place or transition where it shows.

    `never` are transitions that cannot occur, found beside it.
    """

    outcome: Outcome
    reason: str
    subject: str = ""
    never: frozenset[int] = frozenset()


def never_occurring(net: IndexedNet) -> dict[int, str]:
    """Return transitions that cannot occur in any run, as far as tokens' ways tell, and why.

    Linear. How many tokens there are is not counted where places are filled again, so there may
    be more.
    """
    marked = dict(net.marking)
    missing = [
        {
            place
            for side in (net.takes[t], net.reads[t])
            for place, weight in side.items()
            if marked.get(place, 0) < (1 if net.producers[place] else weight)
        }
        for t in range(len(net.transition_names))
    ]
    has_room = [_has_ever_room(net, t) for t in range(len(missing))]
    waiting = [t for t, places in enumerate(missing) if not places and has_room[t]]
    never = dict.fromkeys(range(len(missing)))
    for transition in waiting:
        del never[transition]
    while waiting:
        transition = waiting.pop()
        for place in net.puts[transition]:
            for consumer in net.out_of[place]:
                missing[consumer].discard(place)
                if consumer in never and not missing[consumer] and has_room[consumer]:
                    del never[consumer]
                    waiting.append(consumer)
    return {t: _why_never(net, missing[t], marked) for t in never}


def _has_ever_room(net: IndexedNet, transition: int) -> bool:
    takes = net.takes[transition]
    return all(
        weight <= max(net.capacities.get(place, weight), takes.get(place, 0))
        for place, weight in net.puts[transition].items()
    )


def _why_never(net: IndexedNet, missing: Collection[int], marked: Mapping[int, int]) -> str:
    if not missing:
        return "there is no room for what it puts"
    place = min(missing, key=lambda place: (len(net.producers[place]), place))
    name = net.place_names[place]
    fillers = [net.transition_names[t] for t in net.producers[place]]
    if fillers:
        return f"{name} is filled only by {first_few(fillers, 3)}, and that never starts"
    few = "too few tokens" if marked.get(place) else "no token"
    return f"{name} has {few}, and nothing fills it"


def soundness(net: IndexedNet) -> Soundness:
    """Return what can be known of a net."""
    unfit = _not_a_workflow_net(net)
    if unfit is not None:
        return unfit
    source, sink = net.sources[0], net.sinks[0]
    is_started = net.marking == ((source, 1),)
    if is_started and net.is_ordinary:
        known = _by_structure(net, source, sink)
        if known is not None:
            return _with_conditions(net, known)
    return _with_conditions(net, _by_search(net, source, sink, is_classic=is_started))


def _not_a_workflow_net(net: IndexedNet) -> Soundness | None:
    for word, places in (("start", net.sources), ("end", net.sinks)):
        if len(places) != 1:
            shown = first_few([net.place_names[place] for place in places], 5)
            reason = f"a workflow net has one {word} place, and this one has "
            reason += f"{len(places)}: {shown}" if places else "none"
            subject = net.place_names[places[-1]] if places else ""
            return Soundness("not a workflow net", reason, subject)
    n_places = len(net.place_names)
    forwards = _neighbours(net, is_forwards=True)
    backwards = _neighbours(net, is_forwards=False)
    on_a_way = reached(net.sources, forwards) & reached(net.sinks, backwards)
    astray = sorted(set(range(net.size)) - on_a_way)
    if not astray:
        return None
    names = [
        net.place_names[node] if node < n_places else net.transition_names[node - n_places]
        for node in astray
    ]
    verb = "lies" if len(names) == 1 else "lie"
    reason = f"{first_few(names, 5)} {verb} on no way from the start place to the end place"
    return Soundness("not a workflow net", reason, names[0])


def _neighbours(net: IndexedNet, *, is_forwards: bool) -> list[list[int]]:
    n_places = len(net.place_names)
    by_place = net.out_of if is_forwards else net.into
    around: list[list[int]] = [[n_places + t for t in arcs] for arcs in by_place]
    sides = (net.puts if is_forwards else net.takes, net.reads)
    for transition in range(len(net.transition_names)):
        around.append([place for side in sides for place in side[transition]])
    return around


def _by_structure(net: IndexedNet, source: int, sink: int) -> Soundness | None:
    if all(len(arcs) <= 1 for side in (net.into, net.out_of) for arcs in side):
        return _of_marked_graph(net)
    if all(len(arcs) == 1 for side in (net.takes, net.puts) for arcs in side):
        return Soundness("sound", "each transition moves the one token on")
    if net.size > MOST_NODES_BY_RANK or not is_free_choice(net):
        return None
    try:
        flaw = flaw_of_free_choice_net(net, source, sink)
    except Exhausted:
        return None
    if flaw is None:
        return Soundness("sound", "by the rank theorem for free-choice nets")
    witness = _by_search(net, source, sink, is_classic=True)
    if witness.outcome == "unsound":
        return witness
    return Soundness("unsound", f"by the rank theorem: {flaw.reason}", flaw.subject)


def _of_marked_graph(net: IndexedNet) -> Soundness:
    graph: rx.PyDiGraph[int, None] = rx.PyDiGraph()
    graph.add_nodes_from(range(len(net.transition_names)))
    graph.add_edges_from_no_data(
        [
            (before[0], after[0])
            for before, after in zip(net.into, net.out_of, strict=True)
            if before and after
        ]
    )
    if rx.is_directed_acyclic_graph(graph):
        return Soundness("sound", "nothing is chosen, and nothing waits for itself")
    on_cycles = {
        transition
        for component in rx.strongly_connected_components(graph)
        if _is_cycle(graph, component)
        for transition in component
    }
    name = net.transition_names[min(on_cycles - net.unnamed or on_cycles)]
    return Soundness("unsound", f"{name} waits for itself, so the end is not reached", name)


def _is_cycle(graph: rx.PyDiGraph[int, None], component: list[int]) -> bool:
    return len(component) > 1 or graph.has_edge(component[0], component[0])


def _by_search(net: IndexedNet, source: int, sink: int, *, is_classic: bool) -> Soundness:
    n_tokens = dict(net.marking).get(source, 0)
    is_from_source = net.marking == ((source, n_tokens),)

    def is_end(marking: Marking) -> bool:
        if is_from_source:
            return marking == ((sink, n_tokens),)
        return len(marking) == 1 and marking[0][0] == sink

    seen = search(net)
    never = frozenset(range(len(net.transition_names))) - seen.occurring
    never = never if seen.is_complete else frozenset()
    flaw = _flaw_seen(net, seen, is_end, sink, is_classic=is_classic)
    if flaw is not None:
        return Soundness("unsound", *flaw, never)
    if not seen.is_complete:
        words = "tokens become ever more" if seen.growing is not None else "the search ended"
        return Soundness("unknown", f"{words} after {counted(len(seen.markings), 'marking')}")
    for marking in seen.stuck(is_end):
        words = _described(net, marking)
        return Soundness(
            "unsound", f"from {words} the end is never reached", _subject(net, marking), never
        )
    if never:
        name = net.transition_names[min(never)]
        return Soundness("unsound", f"{name} never occurs", name, never)
    return Soundness("sound", f"by a search of {counted(len(seen.markings), 'marking')}")


def _flaw_seen(
    net: IndexedNet,
    seen: Search,
    is_end: Callable[[Marking], bool],
    sink: int,
    *,
    is_classic: bool,
) -> tuple[str, str] | None:
    if seen.growing is not None and is_classic:
        return (
            f"tokens become ever more: {_described(net, seen.growing)}",
            _subject(net, seen.growing),
        )
    if is_classic:
        for marking in seen.markings:
            if not is_end(marking) and any(place == sink for place, _ in marking):
                words = f"the end can be reached while more is left: {_described(net, marking)}"
                return words, _subject(net, marking, but=sink)
    for marking in seen.dead_ends():
        if not is_end(marking):
            return f"it can come to a halt with {_described(net, marking)}", _subject(net, marking)
    return None


def _described(net: IndexedNet, marking: Marking) -> str:
    if not marking:
        return "no token anywhere"
    places = [
        f"{net.place_names[place]} ({count})" if count > 1 else net.place_names[place]
        for place, count in marking
    ]
    return f"tokens in {first_few(places, 5)}"


def _subject(net: IndexedNet, marking: Marking, but: int = -1) -> str:
    return next((net.place_names[place] for place, _ in marking if place != but), "")


def _with_conditions(net: IndexedNet, known: Soundness) -> Soundness:
    """Conditions only forbid; what never occurs without them does not with them either."""
    if not net.has_conditions or known.outcome in ("unknown", "not a workflow net"):
        return known
    words = f"its conditions decide; without them it would be {known.outcome}: {known.reason}"
    return Soundness("unknown", words, known.subject, known.never)
