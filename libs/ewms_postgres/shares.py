"""Who may have how many connections of a pool: calls of others, and the loops beside them.

Guarantees that neither can keep the other from the database: a quarter of the connections, and at
least one, is for calls alone, as much for loops alone, and the rest for whoever asks first. What
runs is a call's unless it was started under `beside_calls`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar

from ewms_postgres.errors import DatabaseUnavailable

__all__ = ["Shares", "beside_calls"]

_RESERVED_FRACTION = 4

_is_loop: ContextVar[bool] = ContextVar("is_loop", default=False)


@contextmanager
def beside_calls() -> Iterator[None]:
    """Have tasks that are created in the block, and by those again, take part as loops."""
    token = _is_loop.set(True)
    try:
        yield
    finally:
        _is_loop.reset(token)


class Shares:
    """Of a pool with at most `size` connections."""

    def __init__(self, size: int) -> None:
        reserved = max(1, size // _RESERVED_FRACTION)
        # Semaphores are given in the order of asking, as the pool's connections are.
        self._calls, self._loops = (asyncio.Semaphore(max(1, size - reserved)) for _ in range(2))

    @asynccontextmanager
    async def taken(self, seconds: float) -> AsyncIterator[float]:
        """One connection of this task's share for the length of the block, and the seconds left.

        Raises DatabaseUnavailable when none comes free within so many seconds.
        """
        name, free = ("loops", self._loops) if _is_loop.get() else ("calls", self._calls)
        clock = asyncio.get_running_loop().time
        deadline = clock() + seconds
        if free.locked():
            try:
                async with asyncio.timeout_at(deadline):
                    await free.acquire()
            except TimeoutError as error:
                raise DatabaseUnavailable(
                    f"no database connection for {name} came free in time",
                    condition="the database has more to do than it can",
                ) from error
        else:
            await free.acquire()
        try:
            yield deadline - clock()
        finally:
            free.release()
