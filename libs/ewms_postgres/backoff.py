"""How long a loop waits before it tries a lost dependency again.

Waits grow by doubling and are drawn at random below that bound, so that a thousand clients of a
restarted server do not come back in the same instant.
"""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import timedelta

__all__ = ["Backoff"]


class Backoff:
    """The waits between attempts: at most `first`, then twice that, and so on up to `longest`."""

    def __init__(
        self,
        first: timedelta = timedelta(milliseconds=100),
        longest: timedelta = timedelta(seconds=5),
    ) -> None:
        self._first = first.total_seconds()
        self._longest = longest.total_seconds()
        self._bound = self._first

    @property
    def level(self) -> int:
        """At which level to log a failure: the first of an outage is a warning, the rest is not."""
        return logging.WARNING if self._bound == self._first else logging.DEBUG

    def reset(self) -> None:
        """Begin with short waits again, after a success."""
        self._bound = self._first

    async def wait(self) -> None:
        """Sleep for the next wait: between half of the bound and the bound."""
        bound, self._bound = self._bound, min(self._bound * 2, self._longest)
        await asyncio.sleep(random.uniform(bound / 2, bound))
