"""Names of which no two are the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

__all__ = ["UniqueNames"]


class UniqueNames:
    """Gives each name once: the one that is wanted, else with a number behind the sign.

    Linear in all, even if all want the same.
    """

    def __init__(self, taken: Iterable[str] = (), sign: str = ".") -> None:
        self._taken = set(taken)
        self._numbers: Counter[str] = Counter()
        self._sign = sign

    def given(self, wanted: str) -> str:
        """Return a name that nobody else has."""
        chosen = wanted
        while chosen in self._taken:
            self._numbers[wanted] += 1
            chosen = f"{wanted}{self._sign}{self._numbers[wanted] + 1}"
        self._taken.add(chosen)
        return chosen
