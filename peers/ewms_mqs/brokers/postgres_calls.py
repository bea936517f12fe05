"""What calls of the broker in PostgreSQL share: repeats, outcomes as errors, bodies as events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from ewms.mqs.v1.event_service_pb2 import Event
from ewms_mqs.errors import QueueClosed, QueueDrained, QueueNotFound
from ewms_mqs.model import Queue
from ewms_postgres.errors import ConcurrencyConflict

__all__ = ["again", "event_of", "require"]

_T = TypeVar("_T")

_ATTEMPTS = 3


async def again(call: Callable[[], Awaitable[_T]]) -> Any:
    """Make the call again when its statement lost against another one, a few times."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return await call()
        except ConcurrencyConflict:
            continue
    return await call()


def event_of(event_no: int, body: bytes) -> Event:
    """The event of a row; one that was published without an id has its number for one."""
    event = Event.FromString(body)
    if not event.event_id:
        event.event_id = f"{event_no:x}"
    return event


def require(outcome: str, queue: Queue) -> None:
    """Raise what an outcome that is none means."""
    match outcome:
        case "absent":
            raise QueueNotFound(queue.mqid, queue)
        case "closed":
            raise QueueClosed(queue)
        case "drained":
            raise QueueDrained(queue)
