"""Conditions of a submit description: truth, numbers, and HTCondor's version."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Final

__all__ = ["HTCONDOR", "truth"]

HTCONDOR: Final = (25, 14, 1)
"""What `if version` is compared with."""

_TRUE: Final = ("true", "yes", "t", "y")
_FALSE: Final = ("false", "no", "f", "n", "")
_VERSION = re.compile(r"version\s*(>=|<=|==|!=|>|<)\s*([0-9]{1,4}(?:\.[0-9]{1,4}){0,2})")
_COMPARE: Final[Mapping[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]]] = {
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}


def truth(condition: str) -> bool | None:
    """Return whether the condition, in lower case, holds; None where HTCondor would not say."""
    if condition in _TRUE or condition in _FALSE:
        return condition in _TRUE
    if match := _VERSION.fullmatch(condition):
        asked = tuple(int(part) for part in match[2].split("."))
        return _COMPARE[match[1]](HTCONDOR[: len(asked)], asked)
    try:
        return float(condition) != 0
    except ValueError:
        return None
