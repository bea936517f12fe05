"""Numbers and names in sentences for people."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["counted", "first_few"]


def counted(number: int, noun: str) -> str:
    """Return the number with its noun."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def first_few(names: Sequence[str], most: int) -> str:
    """Return the names, or the first of them and the number of the others."""
    shown = ", ".join(names[:most])
    n_others = len(names) - most
    if n_others <= 0:
        return shown
    return f"{shown} and {counted(n_others, 'other')}"
