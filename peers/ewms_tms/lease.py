"""An agent's right to act for its schedd, by its own clock.

Guarantees that it never seems to hold longer than the WMS gave it: the clock is one that goes on
while the machine sleeps, and a process that was stopped does not trust renewals that had been
waiting for it, but asks for a new session.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

__all__ = ["Lease"]

_BEATS_PER_TTL = 10
# A renewal comes at a third of the lease: who slept so long may have slept through the next one.
_LONGEST_GAP_IN_TTLS = 1 / 3


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """The lease of one session.

    Parameters
    ----------
    session
        The session's number.
    ttl
        Seconds that it holds from now.
    now
        A clock in seconds that never goes back and never stops.
    """

    def __init__(self, session: int, ttl: float, now: Callable[[], float] = _now) -> None:
        self.session = session
        self._now = now
        self._ttl = ttl
        self._beat = now()
        self._until = self._beat + ttl
        self._is_broken = False

    @property
    def is_held(self) -> bool:
        """Whether it may be acted on."""
        self.show_awake()
        return not self._is_broken and self._now() < self._until

    @property
    def seconds_left(self) -> float:
        """Until it ends, if nothing renews it; 0 when it has."""
        return max(0.0, self._until - self._now()) if self.is_held else 0.0

    def renew(self, ttl: float) -> None:
        """The WMS has renewed it."""
        self.show_awake()
        self._ttl, self._until = ttl, self._now() + ttl

    async def beat(self) -> None:
        """Show again and again that this process is not stopped; until cancelled."""
        while True:
            await asyncio.sleep(self._ttl / _BEATS_PER_TTL)
            self.show_awake()

    def show_awake(self) -> None:
        """This process runs now; a long time since the last time breaks the lease."""
        now = self._now()
        if now - self._beat > self._ttl * _LONGEST_GAP_IN_TTLS:
            self._is_broken = True
        self._beat = now
