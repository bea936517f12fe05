"""The token game on nets without colours: the judge must itself be judged."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wms_grpc.domain.coloured import has_room
from wms_grpc.domain.nets import (
    Arc,
    ArcMode,
    Dependency,
    Net,
    Place,
    Token,
    Transition,
    net_of_dependencies,
)
from wms_grpc.domain.token_game import GoesOn, NotEnabled, TokenGame, final_markings


def net_of(marking: dict[str, int], *arcs: tuple[str, ...], capacity: int | None = None) -> Net:
    """Arcs are (`p>t`, weight), (`t>p`, weight), (`p-t`) to read and (`p=t`) to write."""
    read: list[Arc] = []
    for text, *weight in arcs:
        mode: ArcMode = "take"
        for sign in "-=>":
            if sign in text:
                left, right = text.split(sign)
                mode = {"-": "read", "=": "write", ">": "take"}[sign]  # type: ignore[assignment]
        if left.startswith("t"):
            left, right, mode = right, left, "put"
        read.append(Arc(left, right, mode, int(weight[0]) if weight else 1))
    places = tuple(
        Place(name, tokens=(Token(),) * n, capacity=capacity if name == "bounded" else None)
        for name, n in marking.items()
    )
    names = sorted({arc.transition for arc in read})
    return Net(places, tuple(Transition(name) for name in names), tuple(read))


def counts(game: TokenGame) -> dict[str, int]:
    return {place: len(tokens) for place, tokens in game.marking.items()}


def test_a_diamond_comes_to_rest_with_one_token_at_its_end() -> None:
    dependencies = [Dependency(("a",), ("b", "c")), Dependency(("b", "c"), ("d",))]
    game = TokenGame(net_of_dependencies(["a", "b", "c", "d"], dependencies), seed=1)

    assert game.run() == 4
    assert counts(game) == {"end": 1}


def test_a_weight_is_so_many_tokens_at_a_time() -> None:
    game = TokenGame(net_of({"p": 7, "q": 0}, ("p>t", "3"), ("t>q", "2")))

    assert game.run() == 2
    assert counts(game) == {"p": 1, "q": 4}


def test_what_is_read_stays() -> None:
    game = TokenGame(net_of({"p": 3, "lamp": 1, "q": 0}, ("p>t",), ("lamp-t",), ("t>q",)))
    game.run()

    assert counts(game) == {"lamp": 1, "q": 3}


def test_a_read_arc_beside_a_taking_one_needs_a_token_of_its_own() -> None:
    assert not TokenGame(net_of({"p": 1}, ("p>t",), ("p-t",))).enabled()
    assert TokenGame(net_of({"p": 2}, ("p>t",), ("p-t",))).enabled()


def test_what_is_written_must_be_there_and_stays_one_token() -> None:
    assert not TokenGame(net_of({"p": 1, "sheet": 0}, ("p>t",), ("sheet=t",))).enabled()
    game = TokenGame(net_of({"p": 2, "sheet": 1}, ("p>t",), ("sheet=t",)))

    assert game.run() == 2
    assert counts(game) == {"sheet": 1}


def test_reading_and_writing_one_place_is_one_token() -> None:
    game = TokenGame(net_of({"p": 1, "sheet": 1}, ("p>t",), ("sheet-t",), ("sheet=t",)))

    assert game.run() == 1


def test_a_full_place_holds_its_producers_back() -> None:
    net = net_of({"p": 5, "bounded": 0}, ("p>t",), ("t>bounded",), capacity=2)
    game = TokenGame(net)

    assert game.run() == 2
    assert counts(game) == {"p": 3, "bounded": 2}


def test_a_loop_on_a_full_place_needs_no_room() -> None:
    net = net_of({"p": 1, "bounded": 1}, ("p>t",), ("bounded>t",), ("t>bounded",), capacity=1)

    assert TokenGame(net).run() == 1


def test_what_has_begun_locks_its_tokens_and_reserves_its_room() -> None:
    game = TokenGame(net_of({"p": 2, "bounded": 0}, ("p>t",), ("t>bounded",), capacity=1))
    begun = game.begin("t")

    assert counts(game) == {"p": 1}
    with pytest.raises(NotEnabled):
        game.begin("t")

    game.give_back(begun)
    assert counts(game) == {"p": 2}
    game.end(game.begin("t"))
    assert counts(game) == {"p": 1, "bounded": 1}
    assert game.running == ()


def test_two_occurrences_of_one_transition_may_run_at_once() -> None:
    game = TokenGame(net_of({"p": 2, "lamp": 1, "q": 0}, ("p>t",), ("lamp-t",), ("t>q",)))
    first, second = game.begin("t"), game.begin("t")
    game.end(second)
    game.end(first)

    assert counts(game) == {"lamp": 1, "q": 2}


def test_a_net_that_does_not_come_to_rest_is_told() -> None:
    with pytest.raises(GoesOn):
        TokenGame(net_of({"p": 1}, ("p>t",), ("t>p",))).run(max_firings=10)


def test_a_choice_has_as_many_final_markings_as_branches() -> None:
    net = net_of(
        {"p": 2, "q": 0, "r": 0}, ("p>t1",), ("t1>q",), ("p>t2",), ("t2>r",), ("p>t3", "2")
    )
    final = [{place: len(tokens) for place, tokens in m.items()} for m in final_markings(net)]

    assert sorted(final, key=str) == [{"q": 1, "r": 1}, {"q": 2}, {"r": 2}, {}]


def test_a_seed_is_one_story() -> None:
    net = net_of({"p": 9, "q": 0, "r": 0}, ("p>t1",), ("t1>q",), ("p>t2",), ("t2>r",))

    def played(seed: int) -> dict[str, int]:
        game = TokenGame(net, seed=seed)
        game.run()
        return counts(game)

    assert played(3) == played(3)
    assert len({str(played(seed)) for seed in range(20)}) > 3


_MODES = st.sampled_from(("take", "put", "read", "write"))


@st.composite
def nets(draw: st.DrawFn) -> Net:
    """Random place/transition nets with at most one arc of a mode between two nodes."""
    n_places, n_transitions = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    places = tuple(
        Place(
            f"p{n}",
            capacity=draw(st.none() | st.integers(3, 6)),
            tokens=(Token(),) * draw(st.integers(0, 3)),
        )
        for n in range(n_places)
    )
    arcs = draw(
        st.lists(
            st.builds(
                Arc,
                st.integers(0, n_places - 1).map("p{}".format),
                st.integers(0, n_transitions - 1).map("t{}".format),
                _MODES,
                st.integers(1, 3),
            ),
            max_size=15,
            unique_by=lambda arc: (arc.place, arc.transition, arc.mode),
        )
    )
    return Net(places, tuple(Transition(f"t{n}") for n in range(n_transitions)), tuple(arcs))


@given(nets(), st.integers(0, 99))
def test_each_step_is_what_the_rule_of_the_token_game_says(net: Net, seed: int) -> None:
    game = TokenGame(net, seed=seed)
    marking = Counter({place.id: len(place.tokens) for place in net.places})
    for _ in range(20):
        enabled = {t.id for t in net.transitions if _is_enabled(net, t.id, marking)}
        assert set(game.enabled()) == enabled
        if (fired := game.step()) is None:
            break
        for arc in net.arcs:
            if arc.transition == fired.transition and arc.mode in ("take", "put"):
                marking[arc.place] += arc.weight if arc.mode == "put" else -arc.weight
        assert Counter(counts(game)) == +marking


def _is_enabled(net: Net, transition: str, marking: Counter[str]) -> bool:
    """The textbook's rule, by counts alone."""
    weights: Counter[tuple[str, str]] = Counter()
    for arc in net.arcs:
        if arc.transition == transition:
            weights[arc.place, arc.mode] += arc.weight
    for place in net.places:
        take, read = weights[place.id, "take"], weights[place.id, "read"]
        if marking[place.id] < take + max(read, weights[place.id, "write"]):
            return False
    arcs = [arc for arc in net.arcs if arc.transition == transition]
    return has_room({place.id: place for place in net.places}, arcs, marking)


@given(nets(), st.lists(st.tuples(st.booleans(), st.integers(0, 4)), max_size=20))
def test_giving_everything_back_leaves_nothing_changed(
    net: Net, story: list[tuple[bool, int]]
) -> None:
    game = TokenGame(net)
    before = game.marking
    begun = []
    for _, transition in story:
        try:
            begun.append(game.begin(f"t{transition}"))
        except NotEnabled:
            continue
    for occurrence in begun:
        game.give_back(occurrence)

    assert game.marking == before
    assert game.running == ()
