"""One statement for what has gathered while the one before it was on its way.

Guarantees order within a lane, no waiting when the lane is free, and that a batch stays within
its weight. A caller who is cancelled while it waits takes nothing back: its item is done all the
same, since others share its batch.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

__all__ = ["Lane"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Lane(Generic[_Item, _Result]):
    """Runs items in batches, one batch at a time.

    Parameters
    ----------
    work
        Does a batch, and returns one result an item. What it raises, each caller gets.
    max_weight
        Greatest sum of weights in a batch; an item that is heavier goes by itself.
    on_idle
        Called when nothing is left.
    """

    def __init__(
        self,
        work: Callable[[Sequence[_Item]], Awaitable[Sequence[_Result]]],
        max_weight: int,
        on_idle: Callable[[], None],
    ) -> None:
        self._work = work
        self._max_weight = max_weight
        self._on_idle = on_idle
        self._waiting: deque[tuple[_Item, int, asyncio.Future[_Result]]] = deque()
        self._runner: asyncio.Task[None] | None = None

    def submit(self, item: _Item, weight: int) -> asyncio.Future[_Result]:
        """Queue an item up; the future has its result, or what the batch has raised."""
        future: asyncio.Future[_Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, weight, future))
        if self._runner is None:
            self._runner = asyncio.create_task(self._run())
        return future

    async def close(self) -> None:
        """Wait for what is under way."""
        if self._runner is not None:
            await asyncio.wait([self._runner])

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch = self._next_batch()
                futures = [future for _, _, future in batch]
                try:
                    results = await self._work([item for item, _, _ in batch])
                except Exception as error:
                    for future in futures:
                        if not future.done():
                            future.set_exception(error)
                else:
                    for future, result in zip(futures, results, strict=True):
                        if not future.done():
                            future.set_result(result)
        finally:
            for _, _, future in self._waiting:
                future.cancel()
            self._waiting.clear()
            self._runner = None
            self._on_idle()

    def _next_batch(self) -> list[tuple[_Item, int, asyncio.Future[_Result]]]:
        batch = [self._waiting.popleft()]
        weight = batch[0][1]
        while self._waiting and weight + self._waiting[0][1] <= self._max_weight:
            batch.append(self._waiting.popleft())
            weight += batch[-1][1]
        return batch
