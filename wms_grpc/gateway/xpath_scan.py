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
    is_plain: bool
    growth: int
    n_comparisons: int
    n_references: int
    translates: bool


@lru_cache(maxsize=4096)
def scan(expression: str) -> Scan:
    """Look at an expression, right or wrong. Linear in its length."""
    words = [
        (str(match.lastgroup if match.lastgroup != "variable_name" else "variable"), match)
        for match in _WORD.finditer(expression)
        if match.lastgroup != "space"
    ]
    variables: set[str] = set()
    first_names: list[str] = []
    depth, growth, previous, translates = 0, 0, "", False
    for n, (kind, match) in enumerate(words):
        word = match[0]
        following = words[n + 1][1][0] if n + 1 < len(words) else ""
        current = word
        if kind == "variable":
            variables.add(match["variable_name"])
            growth += depth > 0
        elif kind == "name":
            if previous not in _BEFORE_OPERAND and word in _OPERATORS:
                pass
            elif following == "::":
                growth += word in _WIDE_AXES
                current = "axis"
            elif following == "(":
                translates |= word == "translate"
                current = "function"
            else:
                if depth == 0 and previous not in ("/", "//", "@", "::"):
                    first_names.append(word)
                current = "name"
        elif word == "[":
            depth += 1
        elif word == "]":
            depth -= 1
        elif word == "*" and previous not in _BEFORE_OPERAND:
            current = "operator *"
        elif word in ("//", "..") or (word == "/" and previous in _BEFORE_OPERAND):
            growth += 1
        previous = current
    n_comparisons = sum(match[0] in _COMPARISONS for _, match in words)
    n_references = sum(kind == "variable" for kind, _ in words)
    is_plain = bool(words) and all(kind == "name" for kind, _ in words)
    return Scan(
        variables=frozenset(variables),
        first_names=tuple(first_names),
        is_plain=is_plain,
        growth=growth,
        n_comparisons=n_comparisons,
        n_references=n_references,
        translates=translates,
    )
