"""When to open a broken stream again, or to put a question again. Waits longer from failure to
failure, with jitter, and never less than the server asks for; gives up when nothing has come for as
long as its patience lasts. Must never hide an error that another attempt cannot mend.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc

from ewms_client.errors import DeadlineExceeded, RpcError
from ewms_rpc.backoff import Backoff

__all__ = ["Reconnection", "ask_patiently"]

_Answer = TypeVar("_Answer")

_logger = logging.getLogger(__name__)
_STEADY_AFTER = 30.0
_MENDABLE = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED})


class Reconnection:
    """The failures of one stream, named `what` in the log, since something last came on it.

    `patience` is in seconds: once failures have followed one another for so long, the last one is
    raised.
    """

    def __init__(self, what: str, patience: float) -> None:
        self._what, self._patience = what, patience
        self._backoff = Backoff(first=0.05, limit=5.0)
        self._first_failure: float | None = None
        self._opened = time.monotonic()

    def note_progress(self) -> None:
        """Something came: patience and pauses begin anew."""
        self._backoff.reset()
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
        _logger.info("%s: trying again after: %s", self._what, error.message)
        await self._backoff.wait(at_least=error.retry_after)
        self._opened = time.monotonic()


async def ask_patiently(
    ask: Callable[[], Awaitable[_Answer]], what: str, patience: float
) -> _Answer:
    """The answer to a question that changes nothing, however long its server is away in between.

    After `patience` seconds without one, the last error is raised.
    """
    give_up_at = time.monotonic() + patience
    backoff = Backoff(first=0.05, limit=5.0)
    while True:
        try:
            return await ask()
        except RpcError as error:
            mendable = error.code in _MENDABLE or isinstance(error, DeadlineExceeded)
            if not mendable or time.monotonic() >= give_up_at:
                raise
            _logger.info("%s: trying again after: %s", what, error.message)
            await backoff.wait(at_least=error.retry_after)
