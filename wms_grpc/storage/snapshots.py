"""A workflow with all that belongs to it at one revision, encoded in parts.

One REPEATABLE READ transaction reads it, so that what follows its revision in the feed is what has
changed since. The transaction is over before anything is sent: a slow subscriber never holds one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass

import asyncpg
from google.protobuf.message import Message

from ewms.wms.v1 import watch_pb2, workflow_service_pb2
from ewms_postgres.database import Database
from ewms_postgres.statements import Statement, statement
from wms_grpc.domain.errors import NotFound
from wms_grpc.domain.ids import WorkflowId
from wms_grpc.storage import messages
from wms_grpc.storage.records import directive_from, queue_from, taskforce_from, workflow_from

__all__ = ["PART_BYTES", "WorkflowSnapshot", "filled", "snapshot_of_workflow"]

# A part is at most about this large, so that every message stays far below 16 MiB.
PART_BYTES = 1 << 20

# Converting many rows must not keep every other call waiting.
_ROWS_AT_ONCE = 64

_WORKFLOW = statement("""
    SELECT w.*, s.epoch FROM wms.workflow w CROSS JOIN wms.feed_state s
    WHERE w.workflow_id = :workflow_id
""")
_DIRECTIVES = statement(
    "SELECT * FROM wms.task_directive WHERE workflow_id = :workflow_id ORDER BY number"
)
_TASKFORCES = statement(
    "SELECT * FROM wms.taskforce WHERE workflow_id = :workflow_id ORDER BY taskforce_uuid"
)
_QUEUES = statement("SELECT * FROM wms.queue WHERE workflow_id = :workflow_id ORDER BY alias")


@dataclass(frozen=True, slots=True)
class WorkflowSnapshot:
    """A snapshot; `parts` are encoded `WatchWorkflowResponse`s."""

    epoch: str
    revision: int
    is_settled: bool
    parts: Sequence[bytes]


async def snapshot_of_workflow(
    db: Database, workflow_id: WorkflowId, *, part_bytes: int = PART_BYTES
) -> WorkflowSnapshot:
    """Return the workflow as it is. Raises NotFound if there is none."""
    async with db.transaction("repeatable_read", readonly=True) as tx:

        async def rows_of(query: Statement) -> list[asyncpg.Record]:
            return await tx.fetch(query, workflow_id=workflow_id)

        row = await tx.fetchrow(_WORKFLOW, workflow_id=workflow_id)
        if row is None:
            raise NotFound("workflow", workflow_id)
        directives = await rows_of(_DIRECTIVES)
        taskforces = await rows_of(_TASKFORCES)
        queues = await rows_of(_QUEUES)
    workflow = workflow_from(row)

    async def resources() -> AsyncIterator[tuple[str, Message]]:
        async for queue in _converted(queues, lambda r: messages.queue_message(queue_from(r))):
            yield "queues", queue
        async for directive in _converted(
            directives, lambda r: messages.task_directive_message(directive_from(r))
        ):
            yield "task_directives", directive
        async for taskforce in _converted(
            taskforces, lambda r: messages.taskforce_message(taskforce_from(r))
        ):
            yield "taskforces", taskforce

    first = watch_pb2.WorkflowSnapshot(workflow=messages.workflow_message(workflow))
    parts = []
    async for part in filled(first, resources(), part_bytes):
        part.revision = workflow.revision
        part.feed_epoch = row["epoch"]
        parts.append(workflow_service_pb2.WatchWorkflowResponse(snapshot=part).SerializeToString())
    return WorkflowSnapshot(
        row["epoch"], workflow.revision, workflow.settled_time is not None, parts
    )


async def _converted(
    rows: Iterable[asyncpg.Record], convert: Callable[[asyncpg.Record], Message]
) -> AsyncIterator[Message]:
    for number, row in enumerate(rows, 1):
        yield convert(row)
        if number % _ROWS_AT_ONCE == 0:
            await asyncio.sleep(0)


async def filled(
    first: watch_pb2.WorkflowSnapshot,
    resources: AsyncIterator[tuple[str, Message]],
    part_bytes: int,
) -> AsyncIterator[watch_pb2.WorkflowSnapshot]:
    """Yield `first` and more parts, filled with resources up to `part_bytes` each.

    The resources come with the names of the lists that they go to; the last part is marked.
    """
    part, size = first, first.ByteSize()
    async for name, resource in resources:
        grown = size + resource.ByteSize()
        if grown > part_bytes and size:
            yield part
            part, grown = watch_pb2.WorkflowSnapshot(), grown - size
        getattr(part, name).append(resource)
        size = grown
    part.is_last = True
    yield part
