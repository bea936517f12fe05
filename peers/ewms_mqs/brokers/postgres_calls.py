"""What calls of the brokers' tables share: repeats, outcomes as errors, locks, counts, events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from ewms.mqs.v1.event_service_pb2 import Event
from ewms_mqs.brokers import postgres_statements as sql
from ewms_mqs.errors import QueueClosed, QueueDrained, QueueNotFound
from ewms_mqs.model import Counts, Queue, QueueNo
from ewms_postgres.database import Database, Transaction
from ewms_postgres.errors import ConcurrencyConflict
from ewms_postgres.statements import Statement

__all__ = ["again", "change_queues", "counts_of", "event_of", "require"]

_T = TypeVar("_T")

_ATTEMPTS = 3
# Each of the locks that a transaction holds takes room in a table that all sessions share.
_LOCKED_AT_ONCE = 500


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


async def change_queues(
    database: Database, queues: Sequence[QueueNo], change: Statement, **arguments: object
) -> list[QueueNo]:
    """Change queues under their locks, in the order of the numbers, some at a time.

    Returns those that the statement says it has changed.
    """
    changed: list[QueueNo] = []
    numbers = sorted(set(queues))
    for start in range(0, len(numbers), _LOCKED_AT_ONCE):
        some = numbers[start : start + _LOCKED_AT_ONCE]

        async def work(tx: Transaction, some: list[QueueNo] = some) -> list[QueueNo]:
            await tx.execute(sql.LOCK_QUEUES, queues=some)
            rows = await tx.fetch(change, queues=some, **arguments)
            return [row["queue_no"] for row in rows]

        changed += await database.transact(work)
    return changed


def counts_of(rows: Sequence[Any]) -> dict[QueueNo, Counts]:
    """Rows of counts by their queue."""
    return {
        row["queue_no"]: Counts(
            row["published"], row["depth"], row["in_flight"], row["done"], row["dead"]
        )
        for row in rows
    }
