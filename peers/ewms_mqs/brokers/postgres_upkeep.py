"""What the broker's tables need in the background: sums, and the deletion of what is over.

Guarantees that no step deletes or sums more than a bounded number of rows in a transaction. Any
process may do any of it at any time; the rows that one has, another skips.
"""

from __future__ import annotations

from ewms_mqs.brokers import postgres_statements as sql
from ewms_mqs.config import MqsSettings
from ewms_mqs.model import QueueNo
from ewms_postgres.database import Database, Transaction

__all__ = ["collect_garbage", "count_kept_events", "forget_old_ids", "roll_up_counts"]

_AT_ONCE = 5_000
_OF_A_QUEUE = (
    sql.garbage_of("events"),
    sql.DELETE_DEAD_GARBAGE,
    sql.garbage_of("remembered"),
    sql.garbage_of("requeues"),
)


async def roll_up_counts(database: Database) -> set[QueueNo]:
    """Add what batches have appended to the counts of their queues, unless somebody else does.

    Returns the queues that have more or fewer dead letters now.
    """
    changed: set[QueueNo] = set()
    n_rows = _AT_ONCE
    while n_rows == _AT_ONCE:
        n_rows, dead_changed = await database.transact(_roll_up_some)
        changed.update(dead_changed)
    return changed


async def _roll_up_some(tx: Transaction) -> tuple[int, list[QueueNo]]:
    if not await tx.fetchval(sql.TRY_ROLL_UP):
        return 0, []
    row = await tx.fetchrow(sql.ROLL_UP, limit=_AT_ONCE)
    assert row is not None
    return row["n"], row["dead_changed"]


async def count_kept_events(database: Database) -> int:
    """How many events wait, are delivered, or are dead letters, in all queues."""
    return int(await database.fetchval(sql.KEPT_EVENTS))


async def forget_old_ids(database: Database, settings: MqsSettings) -> None:
    """Forget ids of events, and of requests to put some back, from before the window."""
    for statement in (sql.FORGET, sql.FORGET_REQUEUES):
        n_rows = _AT_ONCE
        while n_rows == _AT_ONCE:
            n_rows = await database.execute(statement, window=settings.dedup_window, limit=_AT_ONCE)


async def collect_garbage(database: Database) -> None:
    """Delete the events of queues that are gone."""
    while await database.transact(_collect_some):
        pass


async def _collect_some(tx: Transaction) -> bool:
    """Delete some rows of one queue; False when no queue is left."""
    queue = await tx.fetchval(sql.TAKE_GARBAGE)
    if queue is None:
        return False
    for statement in _OF_A_QUEUE:
        if await tx.execute(statement, queue=queue, limit=_AT_ONCE) == _AT_ONCE:
            return True
    await tx.execute(sql.DELETE_GARBAGE, queue=queue)
    return True
