"""When to open a broken stream again. Waits longer from failure to failure, with jitter, and never
less than the server asks for; gives up when nothing has come for as long as its patience lasts.
Must never hide an error that another attempt cannot mend.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time

import grpc

from ewms_client.errors import DeadlineExceeded, RpcError

__all__ = ["Reconnection"]

_logger = logging.getLogger(__name__)
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 5.0
_STEADY_AFTER = 30.0
_MENDABLE = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED})


class Reconnection:
    """The failures of one stream, named `what` in the log, since something last came on it.

    `patience` is in seconds: once failures have followed one another for so long, the last one is
    raised.
    """

    def __init__(self, what: str, patience: float) -> None:
        self._what, self._patience = what, patience
        self._pause = _FIRST_PAUSE
        self._first_failure: float | None = None
        self._opened = time.monotonic()

    def note_progress(self) -> None:
        """Something came: patience and pauses begin anew."""
        self._pause = _FIRST_PAUSE
        self._first_failure = None

    async def wait_after(self, error: RpcError) -> None:
        """Return when the stream is to be opened again, or raise the error for good."""
        now = time.monotonic()
        # A stream that reached its own deadline, or stood for long without a message, was well.
        if isinstance(error, DeadlineExceeded) or now - self._opened > _STEADY_AFTER:
            self.note_progress()
        elif error.code not in _MENDABLE:
            raise error
        self._first_failure = self._first_failure or now
        if now - self._first_failure > self._patience:
            raise error
        asked = error.retry_after.total_seconds() if error.retry_after else 0.0
        pause = max(asked, self._pause * random.uniform(0.5, 1.0))
        _logger.info("%s: %s; again in %.2f s", self._what, error.message, pause)
        await asyncio.sleep(pause)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        self._opened = time.monotonic()
