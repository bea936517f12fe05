"""How long a loop waits before it tries again: longer each time, never all at once."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from datetime import timedelta

__all__ = ["Backoff"]


class Backoff:
    """Waits that double from `first` to `limit`, each shortened at random by up to `jitter`.

    For a loop with a last attempt::

        async for attempt in Backoff(first=0.1, limit=10.0):
            try:
                return await call()
            except Unavailable as error:
                log.warning("peer away", attempt=attempt)

    For one that never ends: `wait` after a failure, `reset` after a success.

    Parameters
    ----------
    first, limit
        Seconds: the first wait, and the greatest.
    jitter
        The share of a wait that is left to chance, from 0 to 1.
    """

    def __init__(self, *, first: float = 0.1, limit: float = 10.0, jitter: float = 0.5) -> None:
        self._first, self._limit, self._jitter = first, limit, jitter
        self._next = first

    @property
    def level(self) -> int:
        """At which level to log a failure: the first of an outage is a warning, the rest is not."""
        return logging.WARNING if self._next == self._first else logging.DEBUG

    def reset(self) -> None:
        """The next wait is the first again."""
        self._next = self._first

    def next_wait(self) -> float:
        """The seconds of the next wait, which is then used up."""
        wait = self._next * (1 - self._jitter * random.random())
        self._next = min(2 * self._next, self._limit)
        return wait

    async def wait(self, at_least: timedelta | None = None) -> None:
        """Waits; no shorter than a server's `retry_after`, if it said one."""
        floor = at_least.total_seconds() if at_least else 0.0
        await asyncio.sleep(max(self.next_wait(), floor))

    async def __aiter__(self) -> AsyncIterator[int]:
        """Attempts, counted from 1, with a wait before each but the first."""
        attempt = 1
        while True:
            yield attempt
            await self.wait()
            attempt += 1
