"""The search for the tokens under which a transition may occur.

Tokens are tried oldest first. Tokens of equal value are interchangeable, so one of each value is
tried; a condition is tested as soon as its variables are bound, so that a choice which cannot
lead on is left at once. The rules are those of `coloured`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from wms_grpc.domain.coloured import BLACK, Binding, ExpressionLanguage, HeldTokens
from wms_grpc.domain.nets import Arc, Token, Transition

__all__ = ["MAX_CHOICES", "TooManyChoices", "bindings"]

MAX_CHOICES: Final = 10_000
"""How many choices of a token one search makes, unless told otherwise."""


class TooManyChoices(Exception):
    """The search for a binding reached its bound: whether there is one (more) is not known."""


def bindings(
    transition: Transition,
    arcs: Sequence[Arc],
    tokens: HeldTokens,
    language: ExpressionLanguage = BLACK,
    max_choices: int = MAX_CHOICES,
) -> Iterator[Binding]:
    """Yield the bindings under which the transition is enabled, the oldest tokens first.

    `arcs` are those of this transition. Room in its output places is not asked for: it does not
    depend on the binding (`has_room`).

    Raises ExpressionError where a condition cannot be evaluated, and TooManyChoices.
    """
    needed: Counter[str] = Counter()
    for arc in arcs:
        if arc.mode in ("take", "read"):
            needed[arc.place] += arc.weight
    if all(len(tokens.get(place, ())) >= n for place, n in needed.items()):
        yield from _Search(transition, arcs, tokens, language, max_choices).run()


class _Search:
    """Backtracking over the arcs that bind variables; the others take what is left, the oldest."""

    def __init__(
        self,
        transition: Transition,
        arcs: Sequence[Arc],
        tokens: HeldTokens,
        language: ExpressionLanguage,
        max_choices: int,
    ) -> None:
        self._transition = transition
        self._arcs = arcs
        self._tokens = tokens
        self._language = language
        self._choices_left = max_choices
        inputs = [arc for arc in arcs if arc.mode in ("take", "read")]
        self._binding_arcs = [arc for arc in inputs if language.variable(arc.expression)]
        self._plain_arcs = [arc for arc in inputs if not language.variable(arc.expression)]
        self._conditions = self._conditions_by_level()
        self._by_value = {arc.place: self._grouped(arc.place) for arc in self._binding_arcs}
        self._used: defaultdict[str, set[int]] = defaultdict(set)
        self._chosen: list[tuple[int, ...]] = []
        self._variables: dict[str, Token] = {}
        self._bound_here: list[str] = []

    def run(self) -> Iterator[Binding]:
        if not self._holds_at(0):
            return
        if not self._binding_arcs:
            yield from self._completed()
            return
        levels = [self._choices(self._binding_arcs[0])]
        while levels:
            choice = next(levels[-1], None)
            if choice is None:
                levels.pop()
                if self._chosen:
                    self._undo()
                continue
            self._choose(*choice)
            level = len(self._chosen)
            if not self._holds_at(level):
                self._undo()
            elif level == len(self._binding_arcs):
                yield from self._completed()
                self._undo()
            else:
                levels.append(self._choices(self._binding_arcs[level]))

    def _conditions_by_level(self) -> dict[int, list[str]]:
        """Conditions by the number of arcs after whose choice all their variables are bound."""
        bound_at: dict[str, int] = {}
        for level, arc in enumerate(self._binding_arcs, start=1):
            bound_at.setdefault(self._language.variable(arc.expression), level)
        last = len(self._binding_arcs)
        levels: dict[int, list[str]] = defaultdict(list)
        for condition in self._transition.conditions:
            asked = self._language.variables(condition)
            levels[max((bound_at.get(name, last) for name in asked), default=0)].append(condition)
        return levels

    def _grouped(self, place: str) -> dict[str | None, list[int]]:
        groups: dict[str | None, list[int]] = defaultdict(list)
        for key, token in self._tokens.get(place, {}).items():
            groups[token.value].append(key)
        return groups

    def _choices(self, arc: Arc) -> Iterator[tuple[Arc, tuple[int, ...]]]:
        variable = self._language.variable(arc.expression)
        groups = self._by_value[arc.place]
        if variable in self._variables:
            value = self._variables[variable].value
            groups = {value: groups[value]} if value in groups else {}
        for keys in groups.values():
            used = self._used[arc.place]
            free = tuple(islice((key for key in keys if key not in used), arc.weight))
            if len(free) == arc.weight:
                self._choices_left -= 1
                if self._choices_left < 0:
                    raise TooManyChoices(self._transition.name or self._transition.id)
                yield arc, free

    def _choose(self, arc: Arc, keys: tuple[int, ...]) -> None:
        variable = self._language.variable(arc.expression)
        is_new = variable not in self._variables
        if is_new:
            self._variables[variable] = self._tokens[arc.place][keys[0]]
        self._bound_here.append(variable if is_new else "")
        self._used[arc.place].update(keys)
        self._chosen.append(keys)

    def _undo(self) -> None:
        arc = self._binding_arcs[len(self._chosen) - 1]
        self._used[arc.place].difference_update(self._chosen.pop())
        if variable := self._bound_here.pop():
            del self._variables[variable]

    def _holds_at(self, level: int) -> bool:
        return all(
            self._language.holds(condition, self._variables)
            for condition in self._conditions.get(level, ())
        )

    def _completed(self) -> Iterator[Binding]:
        keys_of = dict(zip(map(id, self._binding_arcs), self._chosen, strict=True))
        used = {place: set(keys) for place, keys in self._used.items()}
        for arc in self._plain_arcs:
            free = self._oldest(arc.place, arc.weight, used.setdefault(arc.place, set()))
            if free is None:
                return
            used[arc.place].update(free)
            keys_of[id(arc)] = free
        by_mode = {
            mode: tuple(
                (arc.place, key)
                for arc in self._arcs
                if arc.mode == mode
                for key in keys_of[id(arc)]
            )
            for mode in ("take", "read")
        }
        written = self._written(by_mode["read"], used)
        if written is not None:
            name, variables = self._transition.id, dict(self._variables)
            yield Binding(name, by_mode["take"], by_mode["read"], written, variables)

    def _written(
        self, read: Sequence[tuple[str, int]], used: dict[str, set[int]]
    ) -> tuple[tuple[str, int], ...] | None:
        """The tokens to overwrite: those that are read, as far as they go, then others."""
        also_read: dict[str, list[int]] = defaultdict(list)
        for place, key in reversed(read):
            also_read[place].append(key)
        written: list[tuple[str, int]] = []
        for arc in self._arcs:
            if arc.mode != "write":
                continue
            for _ in range(arc.weight):
                if also_read[arc.place]:
                    written.append((arc.place, also_read[arc.place].pop()))
                    continue
                free = self._oldest(arc.place, 1, used.setdefault(arc.place, set()))
                if free is None:
                    return None
                used[arc.place].update(free)
                written.append((arc.place, free[0]))
        return tuple(written)

    def _oldest(self, place: str, n: int, used: set[int]) -> tuple[int, ...] | None:
        keys = (key for key in self._tokens.get(place, {}) if key not in used)
        free = tuple(islice(keys, n))
        return free if len(free) == n else None
