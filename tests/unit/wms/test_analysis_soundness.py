"""Whether a net is sound: known nets by hand, and the rank theorem against a search of all."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_nets import net_of, random_free_choice_net

from wms_grpc.domain.analysis import Subject, analyze
from wms_grpc.domain.analysis_free_choice import flaw_of_free_choice_net, is_free_choice
from wms_grpc.domain.analysis_nets import indexed
from wms_grpc.domain.analysis_search import search
from wms_grpc.domain.analysis_soundness import never_occurring, soundness
from wms_grpc.domain.nets import Dependency, Net, Place, net_of_dependencies
from wms_grpc.domain.tasks import NoopWork, Task

CHOICES_THAT_DO_NOT_FIT = net_of(
    "fork: i -> p q",
    "a1: p -> a",
    "b1: p -> b",
    "a2: q -> c",
    "b2: q -> d",
    "both_a: a c -> o",
    "both_b: b d -> o",
)


def _outcome(net: Net) -> tuple[str, str]:
    known = soundness(indexed(net))
    return known.outcome, known.reason


def _is_sound_by_definition(net: Net) -> bool | None:
    """Say what the definition says, of the marking graph; None where that is too large."""
    plain = indexed(net)
    (source,), (sink,) = plain.sources, plain.sinks
    assert plain.marking == ((source, 1),)
    seen = search(plain, most_markings=20_000, most_seconds=60)
    if seen.growing is not None:
        return False
    if not seen.is_complete:
        return None
    everything = set(range(len(plain.transition_names)))
    return not [*seen.stuck(lambda marking: marking == ((sink, 1),))] and (
        seen.occurring == everything
    )


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12), st.integers(0, 3))
def test_the_rank_theorem_says_what_a_search_of_all_markings_says(
    seed: int, n_steps: int, n_flaws: int
) -> None:
    net = random_free_choice_net(random.Random(seed), n_steps, n_flaws)
    plain = indexed(net)
    if soundness(plain).outcome == "not a workflow net" or not is_free_choice(plain):
        return
    by_search = _is_sound_by_definition(net)
    flaw = flaw_of_free_choice_net(plain, plain.sources[0], plain.sinks[0])
    if by_search is not None:
        assert (flaw is None) == by_search, flaw


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12), st.integers(0, 3))
def test_whatever_the_method_the_answer_is_what_the_definition_says(
    seed: int, n_steps: int, n_flaws: int
) -> None:
    net = random_free_choice_net(random.Random(seed), n_steps, n_flaws)
    outcome, reason = _outcome(net)
    if outcome in ("sound", "unsound"):
        by_definition = _is_sound_by_definition(net)
        assert by_definition is None or by_definition == (outcome == "sound"), reason


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 6), st.data())
def test_what_dependencies_are_said_to_be_their_net_is(n_tasks: int, data: st.DataObject) -> None:
    names = [f"t{n}" for n in range(n_tasks)]
    some = st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True)
    pairs = data.draw(st.lists(st.tuples(some, some), max_size=4))
    dependencies = [Dependency(tuple(parents), tuple(children)) for parents, children in pairs]
    tasks = [Task(name, NoopWork()) for name in names]
    found = {finding.code for finding in analyze(Subject(tasks, dependencies))}
    net = net_of_dependencies(names, dependencies)
    if "SOUND" in found:
        assert _is_sound_by_definition(net)
        assert _outcome(net)[0] == "sound"
    else:
        assert "CYCLE" in found
        assert _outcome(net)[0] != "sound"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 10))
def test_what_is_said_never_to_occur_does_not(seed: int, n_steps: int) -> None:
    plain = indexed(random_free_choice_net(random.Random(seed), n_steps, 3))
    seen = search(plain, most_markings=5_000)
    assert not never_occurring(plain).keys() & seen.occurring


def test_choices_that_do_not_fit_are_told_by_the_rank_alone() -> None:
    plain = indexed(CHOICES_THAT_DO_NOT_FIT)
    assert is_free_choice(plain)
    flaw = flaw_of_free_choice_net(plain, plain.sources[0], plain.sinks[0])
    assert flaw is not None
    assert "p, q" in flaw.reason
    assert _outcome(CHOICES_THAT_DO_NOT_FIT) == (
        "unsound",
        "it can come to a halt with tokens in a, d",
    )


def test_a_sound_free_choice_net_is_told_by_the_rank_theorem() -> None:
    net = net_of("a: i -> p q", "b: p -> r", "c: p -> r", "d: r q -> o")
    assert _outcome(net) == ("sound", "by the rank theorem for free-choice nets")


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (net_of("a: i -> o", "b: i -> p", "c: p q -> o", "d: p -> q"), "halt"),
        (net_of("a: i -> p q", "b: p -> o", "c: q -> o"), "the end can be reached while more"),
        (net_of("a: i -> p", "b: p -> p q", "c: p q -> o"), "tokens become ever more"),
        (net_of("a: i -> 2*p", "b: 3*p -> o"), "halt with tokens in p (2)"),
        (
            net_of(
                "a: i -> p", "x: i -> q", "b: p -> p2", "c: p2 -> p", "d: q -> o p", "e: p q -> o"
            ),
            "",
        ),
    ],
)
def test_an_unsound_net_says_what_can_happen(net: Net, words: str) -> None:
    outcome, reason = _outcome(net)
    assert outcome == "unsound"
    assert words in reason


def test_weights_that_fit_are_sound_by_a_search() -> None:
    outcome, reason = _outcome(net_of("a: i -> 4*p", "b: 2*p -> q", "c: 2*q -> o"))
    assert (outcome, reason[:15]) == ("sound", "by a search of ")


def test_a_read_place_is_left_and_a_written_one_keeps_its_number() -> None:
    net = net_of("a: i -> p q", "b: p q? -> r", "c: r q -> o")
    assert _outcome(net)[0] == "sound"
    net = net_of("a: i -> 3*p q", "b: q -> p! r", "c: r 3*p -> o")
    assert _outcome(net)[0] == "sound"
    net = net_of("a: i -> q", "b: q -> p! r", "c: r -> o p", "d: p o -> o")
    assert set(never_occurring(indexed(net))) == {1, 2, 3}


def test_what_is_read_is_another_token_than_what_is_taken() -> None:
    assert _outcome(net_of("a: i -> p", "b: p p? -> o"))[0] == "unsound"
    assert _outcome(net_of("a: i -> 2*p", "b: p p? -> q", "c: q p -> o"))[0] == "sound"


def test_a_place_that_is_full_holds_up_what_puts_into_it() -> None:
    net = net_of("a: i -> 2*p", "b: 2*p -> o")
    places = tuple(
        Place(id=p.id, name=p.name, tokens=p.tokens, capacity=1 if p.id == "p" else None)
        for p in net.places
    )
    tight = Net(places, net.transitions, net.arcs)
    assert _outcome(net)[0] == "sound"
    assert _outcome(tight)[0] == "unsound"
    assert never_occurring(indexed(tight)) == {
        0: "there is no room for what it puts",
        1: "p is filled only by a, and that never starts",
    }


def test_conditions_decide_so_it_is_not_known() -> None:
    net = net_of("a: i -> p", "b: i -> p", "c: p -> o", conditions="a b")
    outcome, reason = _outcome(net)
    assert outcome == "unknown"
    assert "without them it would be sound" in reason


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (net_of("a: i -> p", "b: i -> q"), "one end place, and this one has 2: p, q"),
        (net_of("a: i j -> o"), "one start place, and this one has 2: i, j"),
        (net_of("a: i -> p", "b: p -> i"), "one start place, and this one has none"),
        (net_of("a: i -> o", "b: p -> p"), "p, b lie on no way"),
        (net_of("a: i -> o", "b: i -> "), "b lies on no way"),
    ],
)
def test_a_net_without_one_start_and_one_end_is_no_workflow_net(net: Net, words: str) -> None:
    outcome, reason = _outcome(net)
    assert outcome == "not a workflow net"
    assert words in reason


def test_past_the_bounds_it_is_unknown_and_never_a_guess() -> None:
    branches = [f"p{n}" for n in range(40)]
    net = net_of(
        f"a: i -> {' '.join(branches)}",
        *(f"x{n}: {p} -> q{n}" for n, p in enumerate(branches)),
        *(f"y{n}: {p} -> q{n}" for n, p in enumerate(branches)),
        f"z: {' '.join(f'q{n}' for n in range(40))} p0? -> o",
    )
    assert _outcome(net)[0] == "unknown"


def test_the_clock_bounds_a_search() -> None:
    ticks = iter(range(10**9))
    places = range(20)
    net = net_of(
        f"a: i -> {' '.join(f'p{k}' for k in places)}",
        *(f"x{k}: p{k} -> q{k}" for k in places),
        f"z: {' '.join(f'q{k}' for k in places)} -> o",
    )
    seen = search(indexed(net), most_seconds=0, clock=lambda: float(next(ticks)))
    assert not seen.is_complete
    assert next(ticks) == 2


def test_a_search_of_markings_with_very_many_tokens_ends_in_time_too() -> None:
    n = 10_000
    net = net_of(
        f"a: i -> {' '.join(f'p{k}' for k in range(n))}",
        *(f"x{k}: p{k} -> q{k}" for k in range(n)),
        "y0: p0 -> q0",
        f"z: {' '.join(f'q{k}' for k in range(n))} -> o",
    )
    begin = time.process_time()
    assert _outcome(net)[0] == "unknown"
    assert time.process_time() - begin < 20


def test_several_tokens_at_the_start_all_reach_the_end() -> None:
    net = net_of("a: i -> p", "b: p -> o", marked="i i i")
    assert _outcome(net)[0] == "sound"
    net = net_of("a: i -> p", "b: 2*p -> 2*o", marked="i i i")
    assert _outcome(net)[0] == "unsound"


def test_nets_of_dependencies_are_sound_by_their_shape() -> None:
    net = net_of_dependencies("abcd", [Dependency(("a",), ("b", "c")), Dependency(("b",), ("d",))])
    assert _outcome(net) == ("sound", "nothing is chosen, and nothing waits for itself")


def test_a_net_in_which_something_waits_for_itself_is_not_sound() -> None:
    net = net_of("a: i p -> q", "b: q -> p o")
    outcome, reason = _outcome(net)
    assert outcome == "unsound"
    assert "a waits for itself" in reason


def test_free_choice_nets_of_2000_nodes_are_told_by_rank() -> None:
    plain = indexed(random_free_choice_net(random.Random(900), 900, 0))
    assert 1_900 < plain.size <= 2_000
    assert soundness(plain).reason == "by the rank theorem for free-choice nets"
