"""Cycles among dependencies."""

from __future__ import annotations

import itertools

from wms_grpc.domain.nets import Dependency
from wms_grpc.gateway.cycles import find_cycle


def test_a_diamond_has_no_cycle() -> None:
    assert find_cycle([Dependency(("a",), ("b", "c")), Dependency(("b", "c"), ("d",))]) is None


def test_a_cycle_is_named_in_its_order_with_the_dependency_that_closes_it() -> None:
    dependencies = [
        Dependency(("x",), ("a",)),
        Dependency(("a",), ("b",)),
        Dependency(("c",), ("a",)),
        Dependency(("b",), ("c",)),
        Dependency(("c",), ("y",)),
    ]

    assert find_cycle(dependencies) == (("a", "b", "c", "a"), 3)


def test_who_waits_for_itself_is_a_cycle() -> None:
    assert find_cycle([Dependency(("a", "b"), ("b",))]) == (("b", "b"), 0)


def test_many_that_wait_for_many_in_layers_are_looked_at_once() -> None:
    layers = [tuple(f"{layer}-{n}" for n in range(1_000)) for layer in range(10)]
    dependencies = [Dependency(*pair) for pair in itertools.pairwise(layers)]

    assert find_cycle(dependencies) is None
    assert find_cycle([*dependencies, Dependency(layers[-1], layers[0])]) is not None
