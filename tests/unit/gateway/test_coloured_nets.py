"""Bindings of coloured nets: which tokens, in which order, and within which bound."""

from __future__ import annotations

import time
from collections import Counter
from itertools import islice, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wms_grpc.domain.binding_search import TooManyChoices, bindings
from wms_grpc.domain.coloured import Binding, Put, tokens_put
from wms_grpc.domain.nets import Arc, Token, Transition
from wms_grpc.gateway.xpath import XPathLanguage

XPATH = XPathLanguage()


def held(*values: object) -> dict[int, Token]:
    return {n: Token(f"<data><v>{value}</v></data>") for n, value in enumerate(values)}


def found(
    conditions: list[str], arcs: list[Arc], tokens: dict[str, dict[int, Token]], **limits: int
) -> list[Binding]:
    transition = Transition("t", conditions=tuple(conditions))
    return list(bindings(transition, arcs, tokens, XPATH, **limits))


def test_the_oldest_tokens_that_fit_come_first() -> None:
    arcs = [Arc("p", "t", "take", expression="x"), Arc("q", "t", "take", expression="y")]
    tokens = {"p": held(5, 6, 7), "q": held(8, 9, 10)}

    taken = [binding.taken for binding in found(["$x > 5", "$y < 10"], arcs, tokens)]

    assert taken[0] == (("p", 1), ("q", 0))
    assert taken == [(("p", x), ("q", y)) for x in (1, 2) for y in (0, 1)]


def test_tokens_of_equal_value_are_tried_once() -> None:
    arcs = [Arc("p", "t", "take", expression="x")]

    assert len(found([], arcs, {"p": held(*[1] * 50, 2)})) == 2


def test_a_variable_on_two_arcs_asks_for_equal_tokens() -> None:
    arcs = [Arc("p", "t", "take", expression="x"), Arc("q", "t", "take", expression="x")]
    [binding] = found([], arcs, {"p": held(1, 2, 3), "q": held(4, 3)})

    assert binding.taken == (("p", 2), ("q", 1))


def test_a_weight_with_a_variable_asks_for_so_many_equal_tokens() -> None:
    arcs = [Arc("p", "t", "take", 2, "x")]
    [binding] = found([], arcs, {"p": held(1, 2, 1)})

    assert binding.taken == (("p", 0), ("p", 2))


def test_two_arcs_on_one_place_take_two_tokens() -> None:
    arcs = [Arc("p", "t", "take", expression="x"), Arc("p", "t", "take")]

    assert found([], arcs, {"p": held(1)}) == []
    [first, second] = found([], arcs, {"p": held(1, 2)})
    assert first.taken == (("p", 0), ("p", 1))
    assert second.taken == (("p", 1), ("p", 0))


def test_a_condition_is_tested_as_soon_as_it_can_be() -> None:
    places = [f"p{n}" for n in range(12)]
    arcs = [Arc(place, "t", "take", expression=f"v{n}") for n, place in enumerate(places)]
    tokens = {place: held(1, 2, 3) for place in places}
    conditions = [f"$v{n} = 2" for n in range(12)]

    began = time.process_time()
    [binding] = found(conditions, arcs, tokens)
    assert set(binding.taken) == {(place, 1) for place in places}
    assert time.process_time() - began < 2


def test_a_search_that_finds_nothing_ends_at_its_bound() -> None:
    arcs = [Arc(f"p{n}", "t", "take", expression=f"v{n}") for n in range(8)]
    tokens = {f"p{n}": held(*range(10)) for n in range(8)}

    with pytest.raises(TooManyChoices):
        found(["$v0 + $v1 + $v2 + $v3 + $v4 + $v5 + $v6 + $v7 < 0"], arcs, tokens, max_choices=500)


def test_many_tokens_and_arcs_are_no_matter() -> None:
    arcs = [Arc(f"p{n}", "t", "take", expression=f"v{n}") for n in range(3_000)]
    tokens = {f"p{n}": held(1) for n in range(3_000)}
    assert len(found([], arcs, tokens)) == 1

    transition = Transition("t", conditions=("$x > 19990",))
    many = {"p": held(*range(20_000))}
    search = bindings(transition, [Arc("p", "t", "take", 1, "x")], many, XPATH, 30_000)
    assert next(iter(islice(search, 1))).taken == (("p", 19_991),)


def test_what_is_put_is_what_the_expressions_say() -> None:
    arcs = [
        Arc("p", "t", "take", expression="x"),
        Arc("sheet", "t", "write", expression="$x * 2"),
        Arc("log", "t", "write", expression="line"),
        Arc("q", "t", "put", 2, "$x + 1"),
    ]
    tokens = {"p": held(4), "sheet": held(0), "log": held("old")}
    [binding] = found([], arcs, tokens)

    assert tokens_put(arcs, binding, tokens, XPATH) == (
        Put("sheet", Token("<data><number>8</number></data>"), replaces=0),
        Put("log", Token("<data><v>old</v></data>"), replaces=0),
        Put("q", Token("<data><number>5</number></data>")),
        Put("q", Token("<data><number>5</number></data>")),
    )
    [_, log, *_] = tokens_put(arcs, binding, tokens, XPATH, {"line": "new"})
    assert log.token == Token("<data><line>new</line></data>")


_VALUES = st.integers(0, 3)


@st.composite
def _searches(draw: st.DrawFn) -> tuple[list[str], list[Arc], dict[str, dict[int, Token]]]:
    """A transition with up to four arcs, their variables, conditions on those, and tokens."""
    places = ["p", "q"]
    arcs = draw(
        st.lists(
            st.builds(
                Arc,
                st.sampled_from(places),
                st.just("t"),
                st.sampled_from(["take", "read"]),
                st.integers(1, 2),
                st.sampled_from(["", "x", "y"]),
            ),
            min_size=1,
            max_size=4,
        )
    )
    variables = sorted({arc.expression for arc in arcs} - {""})
    conditions = [f"${name} {draw(st.sampled_from(['<', '>=', '!=']))} 2" for name in variables]
    if len(variables) == 2 and draw(st.booleans()):
        conditions.append("$x < $y")
    tokens = {place: held(*draw(st.lists(_VALUES, max_size=5))) for place in places}
    return draw(st.permutations(conditions)), arcs, tokens


@settings(max_examples=150, deadline=None)
@given(_searches())
def test_the_search_finds_what_trying_everything_finds(
    search: tuple[list[str], list[Arc], dict[str, dict[int, Token]]],
) -> None:
    conditions, arcs, tokens = search
    seen = found(conditions, arcs, tokens)

    for binding in seen:
        used = [*binding.taken, *binding.read]
        assert len(set(used)) == len(used) == sum(arc.weight for arc in arcs)
        assert all(XPATH.holds(condition, binding.variables) for condition in conditions)
    values = {tuple(sorted((k, str(v)) for k, v in b.variables.items())) for b in seen}
    assert values == _by_trying(conditions, arcs, tokens)


def _by_trying(
    conditions: list[str], arcs: list[Arc], tokens: dict[str, dict[int, Token]]
) -> set[tuple[tuple[str, str], ...]]:
    """What the variables may stand for, by every way to choose values and to count tokens."""
    variables = sorted({arc.expression for arc in arcs} - {""})
    ways = set()
    for values in product([f"<data><v>{n}</v></data>" for n in range(4)], repeat=len(variables)):
        bound = {name: Token(value) for name, value in zip(variables, values, strict=True)}
        left = {place: Counter(t.value for t in held.values()) for place, held in tokens.items()}
        for arc in arcs:
            if arc.expression:
                left[arc.place][bound[arc.expression].value] -= arc.weight
        plain = Counter[str]()
        for arc in arcs:
            plain[arc.place] += 0 if arc.expression else arc.weight
        enough = all(
            min(counts.values(), default=0) >= 0 and sum(counts.values()) >= plain[place]
            for place, counts in left.items()
        )
        if enough and all(XPATH.holds(condition, bound) for condition in conditions):
            ways.add(tuple(sorted((name, str(token)) for name, token in bound.items())))
    return ways
