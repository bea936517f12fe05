"""Nets for tests: written in a line, and random ones that are free-choice workflow nets."""

from __future__ import annotations

import random
from collections.abc import Sequence

from wms_grpc.domain.nets import Arc, Net, Place, Token, Transition

__all__ = ["net_of", "random_free_choice_net"]


def net_of(*transitions: str, marked: str = "i", conditions: str = "") -> Net:
    """Return a net: each transition as `t: a b -> c`, and the places that have a token.

    `2*a` is a weight, `a?` among the inputs is read, `a!` among the outputs is written.
    """
    places: dict[str, None] = {}
    arcs: list[Arc] = []
    names: list[str] = []
    for line in transitions:
        name, _, flow = line.partition(":")
        names.append(name)
        inputs, _, outputs = flow.partition("->")
        for side, words in (("take", inputs), ("put", outputs)):
            for word in words.split():
                weight, _, place = word.rpartition("*")
                mode = {"?": "read", "!": "write"}.get(place[-1], side)
                place = place.rstrip("?!")
                places[place] = None
                arcs.append(Arc(place, name, mode, int(weight or 1)))  # type: ignore[arg-type]
    tokens = marked.split()
    return Net(
        places=tuple(
            Place(id=place, name=place, tokens=(Token(),) * tokens.count(place))
            for place in dict.fromkeys([*places, *tokens])
        ),
        transitions=tuple(
            Transition(id=name, name=name, conditions=("x",) if name in conditions.split() else ())
            for name in names
        ),
        arcs=tuple(arcs),
    )


def random_free_choice_net(chance: random.Random, n_steps: int, n_flaws: int) -> Net:
    """Return a free-choice net with one start and one end place.

    Built by refinements that keep soundness, and then by as many changes that may not.
    """
    takes: list[set[str]] = [{"i"}]
    puts: list[set[str]] = [{"o"}]
    n_places = 0
    for _ in range(n_steps):
        n_places += 1
        place = f"p{n_places}"
        step = chance.choice(["series", "fork", "choice", "loop"])
        t = chance.randrange(len(takes))
        if step == "series":
            takes.append({place})
            puts.append(puts[t])
            puts[t] = {place}
        elif step == "fork":
            n_places += 1
            takes.extend([{place, f"p{n_places}"}])
            puts.append(puts[t])
            puts[t] = {place, f"p{n_places}"}
        elif step == "choice":
            takes.append(set(takes[t]))
            puts.append(set(puts[t]))
        else:
            takes.extend([{place}, {place}])
            puts.extend([puts[t], {place}])
            puts[t] = {place}
    for _ in range(n_flaws):
        _spoil(chance, takes, puts)
    return net_of(
        *(
            f"t{n}: {' '.join(sorted(a))} -> {' '.join(sorted(b))}"
            for n, (a, b) in _both(takes, puts)
        )
    )


def _both(
    takes: Sequence[set[str]], puts: Sequence[set[str]]
) -> list[tuple[int, tuple[set[str], set[str]]]]:
    return list(enumerate(zip(takes, puts, strict=True)))


def _spoil(chance: random.Random, takes: list[set[str]], puts: list[set[str]]) -> None:
    inner = sorted({place for puts_of in puts for place in puts_of} - {"o"})
    t = chance.randrange(len(puts))
    what = chance.choice(["put more", "put elsewhere", "put less", "take more"])
    if what == "put more" and inner:
        puts[t] = puts[t] | {chance.choice(inner)}
    elif what == "put elsewhere" and inner:
        puts[t] = {chance.choice([*inner, "o"])}
    elif what == "put less" and len(puts[t]) > 1:
        puts[t] = puts[t] - {chance.choice(sorted(puts[t]))}
    elif what == "take more" and inner:
        place = chance.choice(inner)
        before = takes[t]
        for n, places in enumerate(takes):
            if places == before or place in places:
                takes[n] = before | {place} | (places if place in places else set())
