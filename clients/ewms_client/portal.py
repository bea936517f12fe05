"""An event loop in a thread of its own, for callers that know nothing of asyncio. The sync client
runs the async one through it, so there is one implementation; nothing runs there between calls but
what must: keepalive and the extension of leases.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import CancelledError
from typing import Any, TypeVar

__all__ = ["Portal"]

_T = TypeVar("_T")
_END: Any = object()


class Portal:
    """A running loop; close it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="ewms-client", daemon=True
        )
        self._thread.start()

    def call(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Run it there and return its result. An interrupt here cancels it there."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except (KeyboardInterrupt, SystemExit):
            future.cancel()
            raise
        except CancelledError:
            raise RuntimeError("the client was closed") from None

    def iterate(self, source: AsyncIterator[_T]) -> Iterator[_T]:
        """Its items one by one. An async generator is closed when the iteration is left."""

        async def step() -> _T:
            return await anext(source, _END)

        async def close() -> None:
            if hasattr(source, "aclose"):
                await source.aclose()

        try:
            while (item := self.call(step())) is not _END:
                yield item
        finally:
            self.call(close())

    def close(self) -> None:
        """End the loop and its thread."""
        self.call(self._loop.shutdown_asyncgens())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
