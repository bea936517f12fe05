"""When a quiet watch is due a checkpoint. A message costs a look at the clock, never a timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ewms.wms.v1 import taskforce_service_pb2, workflow_service_pb2
from wms_grpc.domain.errors import InvalidSubmission, Violation

__all__ = ["Quiet", "checkpoint_seconds", "quiet_after"]

_DEFAULT_SECONDS = 30.0
_LEAST_SECONDS = 0.1
_MOST_SECONDS = 3600.0


WatchRequest = (
    workflow_service_pb2.WatchWorkflowRequest
    | workflow_service_pb2.WatchWorkflowsRequest
    | taskforce_service_pb2.WatchTaskforcesRequest
)


def checkpoint_seconds(request: WatchRequest) -> float:
    """Return how long the stream may be quiet, in seconds. Raises InvalidSubmission."""
    if not request.HasField("checkpoint_interval"):
        return _DEFAULT_SECONDS
    interval = request.checkpoint_interval
    seconds = interval.seconds + interval.nanos * 1e-9
    if not _LEAST_SECONDS <= seconds <= _MOST_SECONDS:
        words = f"must be between {_LEAST_SECONDS:g} s and {_MOST_SECONDS / 3600:g} h"
        raise InvalidSubmission([Violation("checkpoint_interval", words)])
    return seconds


class Quiet:
    """Knows for how long a stream has been quiet; made by `quiet_after`."""

    def __init__(self, seconds: float, wake: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._wake = wake
        self._last = self._loop.time()
        self._timer = self._loop.call_later(seconds, self._look)
        self.is_over = False

    def touch(self) -> None:
        """Say that a message was sent."""
        self._last = self._loop.time()
        self.is_over = False

    def close(self) -> None:
        """Stop the timer."""
        self._timer.cancel()

    def _look(self) -> None:
        due = self._last + self._seconds
        now = self._loop.time()
        if due <= now:
            self.is_over = True
            due = now + self._seconds
            self._wake()
        self._timer = self._loop.call_at(due, self._look)


@contextmanager
def quiet_after(seconds: float, wake: Callable[[], None]) -> Iterator[Quiet]:
    """Set `is_over` and call `wake` whenever the stream has been quiet for so long."""
    quiet = Quiet(seconds, wake)
    try:
        yield quiet
    finally:
        quiet.close()
