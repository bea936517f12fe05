"""Bindings of coloured nets: which tokens, in which order, and within which bound."""

from __future__ import annotations

import time
from itertools import islice

import pytest

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
