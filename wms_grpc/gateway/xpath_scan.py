"""What can be said about an XPath expression by looking at it, without evaluating it.

The words of XPath 1.0 (its section 3.7), enough of them to tell the variables, the names that
stand at the beginning of a path, and how dear the expression may become.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

__all__ = ["NAME", "Scan", "scan"]

NAME: Final = re.compile(r"[^\W\d][\w.-]*")
"""A name that a variable may have: an NCName."""

_WORD: Final = re.compile(
    r"""(?P<literal>"[^"]*"|'[^']*')
    |(?P<number>\d+(\.\d*)?|\.\d+)
    |(?P<variable>\$\s*(?P<variable_name>[^\W\d][\w.-]*(:[^\W\d][\w.-]*)?))
    |(?P<name>[^\W\d][\w.-]*(:(?!:)([^\W\d][\w.-]*|\*))?)
    |(?P<sign>::|//|\.\.|<=|>=|!=|[/()\[\]@,.|+\-=<>*])
    |(?P<space>\s+)
    |(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_OPERATORS: Final = frozenset({"and", "or", "mod", "div"})
_BEFORE_OPERAND: Final = frozenset(
    {"", "@", "::", "(", "[", ",", "and", "or", "mod", "div", "/", "//", "|", "+", "-"}
    | {"=", "!=", "<", "<=", ">", ">=", "operator *"}
)
_COMPARISONS: Final = frozenset({"=", "!=", "<", "<=", ">", ">="})
_WIDE_AXES: Final = frozenset(
    {"ancestor", "ancestor-or-self", "descendant", "descendant-or-self", "following"}
    | {"following-sibling", "preceding", "preceding-sibling", "parent"}
)


@dataclass(frozen=True, slots=True)
class Scan:
    """What an expression shows.

    Parameters
    ----------
    variables
        Those it asks for.
    first_names
        Names that begin a path outside of any predicate. Nothing is there to be found: the
        context of an expression is empty.
    prefixes
        Of names and functions.
    is_plain
        No variables, literals, numbers, calls or signs: a name, or several words.
    growth
        With a tree of n nodes it may visit n to this power.
    n_comparisons
        Of node-sets, perhaps: each with each.
    n_references
        How often a variable stands in it.
    translates
        It calls `translate`, which is quadratic in its strings.
    """

    variables: frozenset[str]
    first_names: tuple[str, ...]
    prefixes: frozenset[str]
    is_plain: bool
    growth: int
    n_comparisons: int
    n_references: int
    translates: bool


@lru_cache(maxsize=4096)
def scan(expression: str) -> Scan:
    """Look at an expression, right or wrong. Linear in its length."""
    words = [match for match in _WORD.finditer(expression) if match.lastgroup != "space"]
    walk = _Walk()
    for n, match in enumerate(words):
        walk.see(match, words[n + 1][0] if n + 1 < len(words) else "")
    return Scan(
        variables=frozenset(walk.variables),
        first_names=tuple(walk.first_names),
        prefixes=frozenset(walk.prefixes),
        is_plain=bool(words) and all(match.lastgroup == "name" for match in words),
        growth=walk.growth,
        n_comparisons=sum(match[0] in _COMPARISONS for match in words),
        n_references=sum(match["variable"] is not None for match in words),
        translates=walk.translates,
    )


class _Walk:
    """From word to word; what a name is depends on the word before it and the one after."""

    def __init__(self) -> None:
        self.variables: set[str] = set()
        self.first_names: list[str] = []
        self.prefixes: set[str] = set()
        self.growth = 0
        self.translates = False
        self._depth = 0
        self._previous = ""

    def see(self, match: re.Match[str], following: str) -> None:
        word = current = match[0]
        is_operand = self._previous in _BEFORE_OPERAND
        if match["variable"] is not None:
            self.variables.add(match["variable_name"])
            self.growth += self._depth > 0
        elif match["name"] is not None:
            if is_operand or word not in _OPERATORS:
                current = self._name(word, following)
        elif word in ("[", "]"):
            self._depth += 1 if word == "[" else -1
        elif word == "*" and not is_operand:
            current = "operator *"
        elif word in ("//", "..") or (word == "/" and is_operand):
            self.growth += 1
        self._previous = current

    def _name(self, word: str, following: str) -> str:
        if following == "::":
            self.growth += word in _WIDE_AXES
            return "axis"
        prefix, colon, _ = word.partition(":")
        if colon:
            self.prefixes.add(prefix)
        if following == "(":
            self.translates |= word == "translate"
            return "function"
        if self._depth == 0 and self._previous not in ("/", "//", "@", "::"):
            self.first_names.append(word)
        return "name"
