"""Work on very many values, in portions, so that it never keeps every other call waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

__all__ = ["paced"]

_PORTION: Final = 200

_T = TypeVar("_T")
_Result = TypeVar("_Result")


async def paced(work: Callable[[_T], _Result], values: Iterable[_T]) -> list[_Result]:
    """Return what `work` makes of each value; others get a turn after each portion."""
    results: list[_Result] = []
    for value in values:
        results.append(work(value))
        if len(results) % _PORTION == 0:
            await asyncio.sleep(0)
    return results
