"""The token game: a net played in memory, one occurrence after the other.

Small enough to be believed, it is the judge of the engine: same net, same rules, no database. It
plays nets of black tokens with weights, capacities, read and write arcs, and coloured ones in any
`ExpressionLanguage`. Which of several enabled transitions occurs is drawn from a seed; without a
seed it is the first of the net, with the oldest tokens.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from random import Random
from typing import Final

from wms_grpc.domain.binding_search import MAX_CHOICES, bindings
from wms_grpc.domain.coloured import BLACK, Binding, ExpressionLanguage, has_room, tokens_put
from wms_grpc.domain.nets import Arc, Net, Place, Token, Transition

__all__ = [
    "GoesOn",
    "Marking",
    "NotEnabled",
    "Occurrence",
    "Results",
    "TokenGame",
    "final_markings",
]

Marking = Mapping[str, tuple[Token, ...]]
"""By place, its tokens; places without any are left out."""

Results = Callable[[Transition, Binding], Mapping[str, str]]
"""What a transition's task has as its results, by name."""

_ALTERNATIVES: Final = 64
"""Among how many bindings of one transition is drawn, unless told otherwise."""


class NotEnabled(Exception):
    """A transition was to occur that may not, in this marking."""


class GoesOn(Exception):
    """A net that had not come to rest within the bound."""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A transition that has begun: its tokens are locked until it ends or is given back."""

    number: int
    binding: Binding


def _no_results(transition: Transition, binding: Binding) -> Mapping[str, str]:
    return {}


class TokenGame:
    """A net and its marking.

    `begin`, `end` and `give_back` are an occurrence's life, several of which may overlap; `fire`
    does all of it at once, `run` fires until nothing is enabled.
    """

    def __init__(
        self,
        net: Net,
        language: ExpressionLanguage = BLACK,
        *,
        seed: int | None = None,
        results: Results = _no_results,
        alternatives: int = _ALTERNATIVES,
    ) -> None:
        self._alternatives = alternatives if seed is not None else 1
        self._places: dict[str, Place] = {place.id: place for place in net.places}
        self._transitions = {transition.id: transition for transition in net.transitions}
        self._language = language
        self._random = None if seed is None else Random(seed)
        self._results = results
        self._arcs: defaultdict[str, list[Arc]] = defaultdict(list)
        self._beside: defaultdict[str, set[str]] = defaultdict(set)
        for arc in net.arcs:
            self._arcs[arc.transition].append(arc)
            self._beside[arc.place].add(arc.transition)
        self._n_tokens = 0
        self._n_occurrences = 0
        self._free: dict[str, dict[int, Token]] = {place.id: {} for place in net.places}
        self._locked: dict[int, dict[tuple[str, int], Token]] = {}
        self._held: Counter[str] = Counter()
        self._running: dict[int, Occurrence] = {}
        self._reserved: Counter[str] = Counter()
        self._order = {transition: n for n, transition in enumerate(self._transitions)}
        self._enabled: dict[str, list[Binding]] = {}
        self._stale = set(self._transitions)
        for place in net.places:
            for token in place.tokens:
                self._add(place.id, token)

    @property
    def marking(self) -> Marking:
        """The tokens that nothing has locked, the oldest first."""
        return {place: tuple(held.values()) for place, held in self._free.items() if held}

    @property
    def running(self) -> tuple[Occurrence, ...]:
        """What has begun and not ended."""
        return tuple(self._running.values())

    def enabled(self) -> Mapping[str, list[Binding]]:
        """The enabled transitions, each with bindings, oldest tokens first: one, or with a seed
        as many as there are alternatives.
        """
        for transition in self._stale:
            self._enabled.pop(transition, None)
            if found := self._found(transition):
                self._enabled[transition] = found
        self._stale.clear()
        names = sorted(self._enabled, key=self._order.__getitem__)
        return {name: self._enabled[name] for name in names}

    def begin(self, transition: str, binding: Binding | None = None) -> Occurrence:
        """Lock the tokens of an occurrence. Raises NotEnabled."""
        chosen = binding or next(iter(self.enabled().get(transition, ())), None)
        arcs = self._arcs[transition]
        if chosen is None or not self._may(transition, chosen):
            raise NotEnabled(transition)
        self._n_occurrences += 1
        occurrence = Occurrence(self._n_occurrences, chosen)
        self._running[occurrence.number] = occurrence
        locks = {*chosen.taken, *chosen.written}
        self._locked[occurrence.number] = {
            (place, key): self._free[place].pop(key) for place, key in locks
        }
        for place, _ in locks:
            self._changed(place)
        for arc in arcs:
            if arc.mode == "put":
                self._reserved[arc.place] += arc.weight
                self._changed(arc.place)
        return occurrence

    def end(self, occurrence: Occurrence, results: Mapping[str, str] | None = None) -> None:
        """Take the locked tokens away and put the occurrence's own. Raises ExpressionError."""
        binding = occurrence.binding
        transition = self._transitions[binding.transition]
        locked = self._locked[occurrence.number]
        seen: defaultdict[str, dict[int, Token]] = defaultdict(dict)
        for (place, key), token in locked.items():
            seen[place][key] = token
        known = self._results(transition, binding) if results is None else results
        arcs = self._arcs[binding.transition]
        left = tokens_put(arcs, binding, seen, self._language, known)
        self._settle(occurrence)
        self._held.subtract(place for place, _ in locked)
        for put in left:
            self._add(put.place, put.token)

    def give_back(self, occurrence: Occurrence) -> None:
        """Undo what has begun: its tokens are where they were, as old as they were."""
        for (place, key), token in self._settle(occurrence).items():
            self._free[place][key] = token
            self._free[place] = dict(sorted(self._free[place].items()))
            self._changed(place)

    def fire(self, transition: str, binding: Binding | None = None) -> None:
        """One occurrence from begin to end. Raises NotEnabled, ExpressionError."""
        self.end(self.begin(transition, binding))

    def step(self) -> Binding | None:
        """Fire one enabled transition and return what it was; None: there is none."""
        enabled = self.enabled()
        if not enabled:
            return None
        if self._random is None:
            binding = next(iter(enabled.values()))[0]
        else:
            binding = self._random.choice(self._random.choice(list(enabled.values())))
        self.fire(binding.transition, binding)
        return binding

    def run(self, max_firings: int = 100_000) -> int:
        """Fire until nothing is enabled, and return how often. Raises GoesOn."""
        for n in range(max_firings):
            if self.step() is None:
                return n
        if self.enabled():
            raise GoesOn(f"more than {max_firings} firings")
        return max_firings

    def _found(self, transition: str) -> list[Binding]:
        if not self._has_room(transition):
            return []
        arcs = self._arcs[transition]
        found = bindings(self._transitions[transition], arcs, self._free, self._language)
        return list(islice(found, self._alternatives))

    def _may(self, transition: str, binding: Binding) -> bool:
        tokens = (*binding.taken, *binding.read, *binding.written)
        return self._has_room(transition) and all(key in self._free[place] for place, key in tokens)

    def _has_room(self, transition: str) -> bool:
        arcs = self._arcs[transition]
        held = {arc.place: self._held[arc.place] + self._reserved[arc.place] for arc in arcs}
        return has_room(self._places, arcs, held)

    def _settle(self, occurrence: Occurrence) -> dict[tuple[str, int], Token]:
        """Forget a running occurrence; return what it had locked."""
        del self._running[occurrence.number]
        for arc in self._arcs[occurrence.binding.transition]:
            if arc.mode == "put":
                self._reserved[arc.place] -= arc.weight
            self._changed(arc.place)
        return self._locked.pop(occurrence.number)

    def _add(self, place: str, token: Token) -> None:
        self._n_tokens += 1
        self._free[place][self._n_tokens] = token
        self._held[place] += 1
        self._changed(place)

    def _changed(self, place: str) -> None:
        self._stale |= self._beside[place]


def final_markings(
    net: Net,
    language: ExpressionLanguage = BLACK,
    *,
    results: Results = _no_results,
    max_markings: int = 10_000,
) -> list[Marking]:
    """Return every marking in which the net can come to rest, each once.

    All choices are followed, of transitions and of tokens. Raises GoesOn and TooManyChoices
    beyond the bounds.
    """
    start = TokenGame(net).marking
    seen, ahead, final = {_canonical(start)}, [start], []
    while ahead:
        marking = ahead.pop()
        marked = _with_marking(net, marking)
        choices = TokenGame(marked, language, seed=0, alternatives=MAX_CHOICES).enabled()
        if not choices:
            final.append(marking)
        for found in choices.values():
            for binding in found:
                game = TokenGame(marked, language, results=results)
                game.fire(binding.transition, binding)
                if (reached := _canonical(game.marking)) not in seen:
                    if len(seen) == max_markings:
                        raise GoesOn(f"more than {max_markings} markings")
                    seen.add(reached)
                    ahead.append(game.marking)
    return final


def _canonical(marking: Marking) -> frozenset[tuple[str, frozenset[tuple[str | None, int]]]]:
    return frozenset(
        (place, frozenset(Counter(token.value for token in tokens).items()))
        for place, tokens in marking.items()
    )


def _with_marking(net: Net, marking: Marking) -> Net:
    places = tuple(replace(place, tokens=marking.get(place.id, ())) for place in net.places)
    return replace(net, places=places)
