"""What a publishing stream has under way, and what of it is durable.

Bounded in messages and bytes; confirmed in order, as many at once as have become durable.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

__all__ = ["Confirmations"]

_MAX_MESSAGES = 64
_MAX_BYTES = 32 * 1024 * 1024


class Confirmations:
    """The batches of one stream."""

    def __init__(self) -> None:
        self._under_way: deque[tuple[asyncio.Future[int], int]] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()

    async def room_for(self, size: int) -> None:
        """Wait until another batch of so many bytes may be under way."""
        while self._under_way and (
            len(self._under_way) >= _MAX_MESSAGES or self._bytes + size > _MAX_BYTES
        ):
            self._changed.clear()
            await self._changed.wait()

    def add(self, durable: asyncio.Future[int], size: int) -> None:
        """A batch is under way."""
        self._under_way.append((durable, size))
        self._bytes += size
        self._changed.set()

    async def of(self, reader: asyncio.Task[None]) -> AsyncIterator[int]:
        """How many batches are durable, each time that it grows, until all that are read are.

        Raises what a batch or the reader has failed with, once those before are confirmed.
        """
        n_confirmed = 0
        reader.add_done_callback(lambda _: self._changed.set())
        while True:
            if not self._under_way:
                if reader.done():
                    reader.result()
                    return
                self._changed.clear()
                await self._changed.wait()
                continue
            await asyncio.wait([self._under_way[0][0]])
            failure = None
            before = n_confirmed
            while failure is None and self._under_way and self._under_way[0][0].done():
                durable, size = self._under_way.popleft()
                self._bytes -= size
                failure = durable.exception()
                n_confirmed += failure is None
            self._changed.set()
            if n_confirmed > before:
                yield n_confirmed
            if failure is not None:
                raise failure
