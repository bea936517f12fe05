"""Waiting between attempts: exponential with full jitter, so that ten thousand workers that lost
the same broker do not return in step. It never gives up by itself; the caller decides.
"""

from __future__ import annotations

import asyncio
import random

__all__ = ["Backoff"]


class Backoff:
    """The waits of one repeated attempt, in seconds: up to `first`, twice that, … `ceiling`."""

    def __init__(self, first: float = 0.2, ceiling: float = 15.0) -> None:
        self._first = first
        self._ceiling = ceiling
        self._next = first

    def reset(self) -> None:
        """Begin again with short waits: the last attempt worked."""
        self._next = self._first

    async def wait(self) -> None:
        """Wait before the next attempt."""
        # Never zero: a broker that refuses at once must not be asked in a tight loop.
        await asyncio.sleep(self._next * random.uniform(0.25, 1.0))
        self._next = min(self._next * 2, self._ceiling)
