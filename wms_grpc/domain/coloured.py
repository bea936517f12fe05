"""Coloured nets: what an occurrence of a transition takes, asks for and leaves.

Pure, for the engine and for `token_game` alike. What conditions and expressions mean is the matter
of an `ExpressionLanguage`; `binding_search` finds the tokens.

The rules, where the languages leave room: an arc of weight n with a variable asks for n tokens of
equal value; a variable on two arcs asks for equal values; a `read` arc needs tokens of its own, as
the loop would that it stands for; a `write` arc replaces the token that the transition reads from
the same place, else one of its own, the oldest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, Protocol

from wms_grpc.domain.nets import Arc, Place, Token

__all__ = [
    "BLACK",
    "Binding",
    "BlackTokens",
    "ExpressionError",
    "ExpressionLanguage",
    "HeldTokens",
    "Put",
    "has_room",
    "tokens_put",
]

HeldTokens = Mapping[str, Mapping[int, Token]]
"""By place, the tokens that may be had, each under a key unique in its place; the oldest first."""


class ExpressionError(Exception):
    """An expression that cannot be evaluated; `reason` says why, in words."""

    def __init__(self, expression: str, reason: str) -> None:
        super().__init__(f"`{expression}`: {reason}")
        self.expression = expression
        self.reason = reason


class ExpressionLanguage(Protocol):
    """What the conditions and the arcs' expressions of a net mean."""

    def variable(self, expression: str) -> str:
        """The variable that a token is bound to by an input arc; empty: to none."""

    def variables(self, expression: str) -> frozenset[str]:
        """The variables that a condition, or the expression of an output arc, asks for."""

    def holds(self, condition: str, variables: Mapping[str, Token]) -> bool:
        """Whether a condition is true. Raises ExpressionError."""

    def value(
        self, expression: str, variables: Mapping[str, Token], results: Mapping[str, str]
    ) -> Token:
        """The token that an output arc puts.

        `results` are those of the transition's task, by name; an expression that names none of
        them gives the token that says no more than that the transition has occurred. Raises
        ExpressionError.
        """


class BlackTokens:
    """The language of nets without colours: every token is the same, and nothing is asked."""

    def variable(self, expression: str) -> str:
        return ""

    def variables(self, expression: str) -> frozenset[str]:
        return frozenset()

    def holds(self, condition: str, variables: Mapping[str, Token]) -> bool:
        raise ExpressionError(condition, "a net of black tokens knows no conditions")

    def value(
        self, expression: str, variables: Mapping[str, Token], results: Mapping[str, str]
    ) -> Token:
        return Token()


BLACK: Final[ExpressionLanguage] = BlackTokens()


@dataclass(frozen=True, slots=True)
class Binding:
    """The tokens of one occurrence, each as (place, key), and what the variables stand for."""

    transition: str
    taken: tuple[tuple[str, int], ...]
    read: tuple[tuple[str, int], ...]
    written: tuple[tuple[str, int], ...]
    variables: Mapping[str, Token]


@dataclass(frozen=True, slots=True)
class Put:
    """A token that an occurrence leaves. `replaces` is the key of the one it overwrites."""

    place: str
    token: Token
    replaces: int | None = None


def has_room(places: Mapping[str, Place], arcs: Iterable[Arc], held: Mapping[str, int]) -> bool:
    """Whether the places that a transition puts to have room for what one occurrence leaves.

    `held` is the number of tokens that count against each capacity. A transition that takes from
    a place and puts to it needs no more room than it makes.
    """
    growth: Counter[str] = Counter()
    for arc in arcs:
        if arc.mode in ("take", "put"):
            growth[arc.place] += arc.weight if arc.mode == "put" else -arc.weight
    for place, n in growth.items():
        capacity = places[place].capacity
        if n > 0 and capacity is not None and held.get(place, 0) + n > capacity:
            return False
    return True


def tokens_put(
    arcs: Sequence[Arc],
    binding: Binding,
    tokens: HeldTokens,
    language: ExpressionLanguage = BLACK,
    results: Mapping[str, str] | None = None,
) -> tuple[Put, ...]:
    """Return what an occurrence under this binding leaves, in the order of its arcs.

    `tokens` still hold those of the binding. A `write` arc whose expression names a result that
    there is not leaves its token as it was. Raises ExpressionError.
    """
    known = results or {}
    written = iter(binding.written)
    put: list[Put] = []
    for arc in arcs:
        if arc.mode == "put":
            token = language.value(arc.expression, binding.variables, known)
            put.extend([Put(arc.place, token)] * arc.weight)
        elif arc.mode == "write":
            says_something = arc.expression in known or language.variables(arc.expression)
            for place, key in islice(written, arc.weight):
                token = tokens[place][key]
                if says_something:
                    token = language.value(arc.expression, binding.variables, known)
                put.append(Put(place, token, replaces=key))
    return tuple(put)
