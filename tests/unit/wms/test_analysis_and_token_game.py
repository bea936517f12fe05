"""The search of markings against the token game: the same net comes to rest in the same ways."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wms_grpc.domain.analysis_nets import indexed
from wms_grpc.domain.analysis_search import search
from wms_grpc.domain.analysis_soundness import never_occurring
from wms_grpc.domain.nets import Arc, Net, Place, Token, Transition

token_game = pytest.importorskip("wms_grpc.domain.token_game")

_SHARES = (("take", 0.3), ("put", 0.25), ("read", 0.12), ("write", 0.1))


def _random_net(chance: random.Random) -> Net:
    places = tuple(
        Place(
            f"p{n}",
            f"p{n}",
            capacity=chance.choice([None, None, 1, 2, 3]),
            tokens=(Token(),) * chance.choice([0, 0, 1, 1, 2]),
        )
        for n in range(chance.randint(2, 5))
    )
    transitions = tuple(Transition(f"t{n}", f"t{n}") for n in range(chance.randint(1, 5)))
    arcs = tuple(
        Arc(place.id, transition.id, mode, chance.choice([1, 1, 1, 2]))  # type: ignore[arg-type]
        for transition in transitions
        for place in places
        for mode, share in _SHARES
        if chance.random() < share
    )
    return Net(places, transitions, arcs)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_a_net_comes_to_rest_where_the_token_game_does(seed: int) -> None:
    net = _random_net(random.Random(seed))
    try:
        final = token_game.final_markings(net, max_markings=60)
    except token_game.GoesOn:
        return
    plain = indexed(net)
    seen = search(plain, most_seconds=60)
    assert seen.is_complete
    assert {
        frozenset((plain.place_names[place], count) for place, count in marking)
        for marking in seen.dead_ends()
    } == {frozenset((place, len(tokens)) for place, tokens in marking.items()) for marking in final}
    assert not never_occurring(plain).keys() & seen.occurring
