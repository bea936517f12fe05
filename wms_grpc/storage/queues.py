"""Queues and task directives of locked workflows: what the draining of queues is about."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ewms_postgres.database import Executor
from ewms_postgres.statements import statement
from wms_grpc.domain.ids import Mqid, TaskId, WorkflowId
from wms_grpc.domain.model import Queue, TaskDirective
from wms_grpc.storage.records import directive_from, queue_from
from wms_grpc.storage.revisions import RevisionSet

__all__ = [
    "QueueState",
    "clear_stop_due",
    "directives_of",
    "queues_of",
    "queues_with_dead_letters",
    "save_directives",
    "save_queues",
    "workflows_of_news",
]

_QUEUES = statement("""
    SELECT * FROM wms.queue WHERE workflow_id = ANY(:workflow_ids::text[]) ORDER BY number
""")

_DIRECTIVES = statement("""
    SELECT * FROM wms.task_directive WHERE workflow_id = ANY(:workflow_ids::text[])
    ORDER BY workflow_id, number
""")

_SAVE_QUEUES = statement("""
    UPDATE wms.queue q SET
      is_activated = c.is_activated, is_close_requested = c.is_close_requested,
      is_close_due = c.is_close_due, is_closed = c.is_closed, is_drained = c.is_drained,
      broker_type = c.broker_type, broker_address = c.broker_address, broker_tls = c.broker_tls,
      n_dead = c.n_dead
    FROM unnest(:id::text[], :is_activated::bool[], :is_close_requested::bool[],
      :is_close_due::bool[], :is_closed::bool[], :is_drained::bool[], :broker_type::text[],
      :broker_address::text[], :broker_tls::bool[], :n_dead::bigint[])
      AS c (id, is_activated, is_close_requested, is_close_due, is_closed, is_drained,
            broker_type, broker_address, broker_tls, n_dead)
    WHERE q.mqid = c.id
""")

_SAVE_DIRECTIVES = statement("""
    UPDATE wms.task_directive d
    SET is_done = c.is_done, done_time = c.done_time, stop_due = c.stop_due
    FROM unnest(:id::text[], :is_done::bool[], :done_time::timestamptz[], :stop_due::timestamptz[])
      AS c (id, is_done, done_time, stop_due)
    WHERE d.task_id = c.id
""")

_CLEAR_STOP_DUE = statement("""
    UPDATE wms.task_directive SET stop_due = NULL WHERE task_id = ANY(:task_ids::text[])
""")

_WORKFLOWS_OF_NEWS = statement("""
    SELECT q.mqid, q.workflow_id
    FROM unnest(:mqid::text[], :is_closed::bool[], :is_drained::bool[], :n_dead::bigint[])
      AS s (mqid, is_closed, is_drained, n_dead)
    JOIN wms.queue q ON q.mqid = s.mqid
    WHERE (s.is_closed AND NOT q.is_closed) OR (s.is_drained AND NOT q.is_drained)
      OR s.n_dead <> q.n_dead
""")

_WITH_DEAD_LETTERS = statement("""
    SELECT mqid FROM wms.queue WHERE n_dead > 0 AND NOT is_drained
""")


@dataclass(frozen=True, slots=True)
class QueueState:
    """What the MQS says of a queue; of its dead letters perhaps nothing."""

    mqid: Mqid
    is_closed: bool
    is_drained: bool
    broker_type: str = ""
    broker_address: str = ""
    broker_tls: bool = False
    n_dead: int | None = None


async def queues_of(
    executor: Executor, workflow_ids: Iterable[WorkflowId]
) -> dict[WorkflowId, list[Queue]]:
    """Return the queues of each workflow, in the order of their numbers."""
    found: dict[WorkflowId, list[Queue]] = defaultdict(list)
    for row in await executor.fetch(_QUEUES, workflow_ids=list(workflow_ids)):
        queue = queue_from(row)
        found[queue.workflow_id].append(queue)
    return found


async def directives_of(
    executor: Executor, workflow_ids: Iterable[WorkflowId]
) -> dict[WorkflowId, list[TaskDirective]]:
    """Return the task directives of each workflow, in the order of their numbers."""
    found: dict[WorkflowId, list[TaskDirective]] = defaultdict(list)
    for row in await executor.fetch(_DIRECTIVES, workflow_ids=list(workflow_ids)):
        directive = directive_from(row)
        found[directive.workflow_id].append(directive)
    return found


async def workflows_of_news(
    executor: Executor, states: Sequence[QueueState]
) -> dict[Mqid, WorkflowId]:
    """Return the workflow of each of these queues of which the state is not stored yet."""
    rows = await executor.fetch(
        _WORKFLOWS_OF_NEWS,
        mqid=[s.mqid for s in states],
        is_closed=[s.is_closed for s in states],
        is_drained=[s.is_drained for s in states],
        n_dead=[s.n_dead for s in states],
    )
    return {row["mqid"]: row["workflow_id"] for row in rows}


async def queues_with_dead_letters(executor: Executor) -> set[str]:
    """Return the queues that are known to have dead letters, and may still lose them."""
    return {row["mqid"] for row in await executor.fetch(_WITH_DEAD_LETTERS)}


async def clear_stop_due(revisions: RevisionSet, task_ids: Iterable[TaskId]) -> None:
    """Note that the workers of these tasks have been stopped."""
    await revisions.tx.execute(_CLEAR_STOP_DUE, task_ids=list(task_ids))


async def save_queues(
    revisions: RevisionSet, before: Mapping[Mqid, Queue], after: Sequence[Queue]
) -> None:
    """Write queues of locked workflows; one that is as it was is left out."""
    changed = [queue for queue in after if queue != before[queue.mqid]]
    if not changed:
        return
    await revisions.tx.execute(
        _SAVE_QUEUES,
        id=[q.mqid for q in changed],
        is_activated=[q.is_activated for q in changed],
        is_close_requested=[q.is_close_requested for q in changed],
        is_close_due=[q.is_close_due for q in changed],
        is_closed=[q.is_closed for q in changed],
        is_drained=[q.is_drained for q in changed],
        broker_type=[q.broker_type for q in changed],
        broker_address=[q.broker_address for q in changed],
        broker_tls=[q.broker_tls for q in changed],
        n_dead=[q.n_dead for q in changed],
    )
    for queue in changed:
        revisions[queue.workflow_id].queue_changed(queue)


async def save_directives(
    revisions: RevisionSet, before: Mapping[TaskId, TaskDirective], after: Sequence[TaskDirective]
) -> None:
    """Write what may change of task directives; one that is as it was is left out."""
    changed = [directive for directive in after if directive != before[directive.task_id]]
    if not changed:
        return
    await revisions.tx.execute(
        _SAVE_DIRECTIVES,
        id=[d.task_id for d in changed],
        is_done=[d.is_done for d in changed],
        done_time=[d.done_time for d in changed],
        stop_due=[d.stop_due for d in changed],
    )
    for directive in changed:
        revisions[directive.workflow_id].directive_changed(directive)
