"""All workflows, or taskforces, that a filter lets through, at one position of the feed.

Commits become visible before they have a position, so a snapshot shows what stands up to the last
position and in the outbox: it says what of the outbox it contains already, and a watch leaves that
out when its position comes. One REPEATABLE READ transaction reads it all and is over before
anything is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
from google.protobuf.message import Message
from sqlalchemy import Table, select

from ewms.wms.v1 import taskforce_service_pb2, watch_pb2, workflow_service_pb2
from ewms_postgres.database import Database, Transaction
from ewms_postgres.errors import translated
from ewms_postgres.statements import Statement, statement
from wms_grpc.domain.filters import Filter
from wms_grpc.domain.ids import WorkflowId
from wms_grpc.storage import messages, tables
from wms_grpc.storage.filtering import condition
from wms_grpc.storage.outbox import move_outbox
from wms_grpc.storage.records import taskforce_from, workflow_from
from wms_grpc.storage.snapshots import PART_BYTES

__all__ = ["FeedSnapshot", "snapshot_of_taskforces", "snapshot_of_workflows"]

# Resume tokens name what a snapshot contains of the outbox, so it must not be much.
_MOST_IN_OUTBOX: Final = 200
_MOVED_AT_ONCE: Final = 2000
_ROWS_AT_ONCE: Final = 200

_HEAD = statement("""
    SELECT s.epoch, s.last_position, o.workflow_id, o.revision
    FROM wms.feed_state s LEFT JOIN (
      SELECT workflow_id, revision FROM wms.outbox ORDER BY id LIMIT :limit
    ) o ON true
""")


@dataclass(frozen=True, slots=True)
class FeedSnapshot:
    """A snapshot at a position.

    `contained` are revisions that it shows although their positions come later; `parts` are
    encoded responses without a resume token, one at least.
    """

    epoch: str
    position: int
    contained: frozenset[tuple[WorkflowId, int]]
    parts: Sequence[bytes]


async def snapshot_of_workflows(
    db: Database, wanted: Filter, *, part_bytes: int = PART_BYTES
) -> FeedSnapshot:
    """Return the workflows; parts are encoded `WatchWorkflowsResponse`s."""

    def response(rows: Sequence[Message], is_last: bool) -> Message:
        snapshot = watch_pb2.WorkflowsSnapshot(is_last=is_last)
        snapshot.workflows.extend(rows)  # type: ignore[arg-type]  # as `message` makes them
        return workflow_service_pb2.WatchWorkflowsResponse(snapshot=snapshot)

    def message(row: asyncpg.Record) -> Message:
        return messages.workflow_message(workflow_from(row))

    return await _snapshot(db, _query(tables.workflow, wanted), message, response, part_bytes)


async def snapshot_of_taskforces(
    db: Database, wanted: Filter, *, part_bytes: int = PART_BYTES
) -> FeedSnapshot:
    """Return the taskforces; parts are encoded `WatchTaskforcesResponse`s."""

    def response(rows: Sequence[Message], is_last: bool) -> Message:
        snapshot = watch_pb2.TaskforcesSnapshot(is_last=is_last)
        snapshot.taskforces.extend(rows)  # type: ignore[arg-type]  # as `message` makes them
        return taskforce_service_pb2.WatchTaskforcesResponse(snapshot=snapshot)

    def message(row: asyncpg.Record) -> Message:
        return messages.taskforce_message(taskforce_from(row))

    return await _snapshot(db, _query(tables.taskforce, wanted), message, response, part_bytes)


def _query(table: Table, wanted: Filter) -> Statement:
    [key] = table.primary_key.columns
    return statement(select(table).where(condition(wanted, table)).order_by(key))


async def _snapshot(
    db: Database,
    query: Statement,
    message: Callable[[asyncpg.Record], Message],
    response: Callable[[Sequence[Message], bool], Message],
    part_bytes: int,
) -> FeedSnapshot:
    while True:
        async with db.transaction("repeatable_read", readonly=True) as tx:
            head = await tx.fetch(_HEAD, limit=_MOST_IN_OUTBOX + 1)
            if len(head) <= _MOST_IN_OUTBOX:
                parts = await _parts(tx, query, message, response, part_bytes)
                return FeedSnapshot(
                    head[0]["epoch"],
                    head[0]["last_position"],
                    frozenset((r["workflow_id"], r["revision"]) for r in head if r["workflow_id"]),
                    parts,
                )
        # Whose turn it is to give positions does not matter; then the outbox is short.
        while (await move_outbox(db, limit=_MOVED_AT_ONCE))[0] == _MOVED_AT_ONCE:
            pass


async def _parts(
    tx: Transaction,
    query: Statement,
    message: Callable[[asyncpg.Record], Message],
    response: Callable[[Sequence[Message], bool], Message],
    part_bytes: int,
) -> list[bytes]:
    parts: list[bytes] = []
    filling: list[Message] = []
    size = 0
    with translated(tx.connection):
        cursor: Any = await tx.connection.cursor(query.sql, *query.arguments({}))
    while True:
        with translated(tx.connection):
            rows = await cursor.fetch(_ROWS_AT_ONCE)
        if not rows:
            break
        for row in rows:
            item = message(row)
            size += item.ByteSize()
            if size > part_bytes and filling:
                parts.append(response(filling, False).SerializeToString())
                filling, size = [], item.ByteSize()
            filling.append(item)
    parts.append(response(filling, True).SerializeToString())
    return parts
