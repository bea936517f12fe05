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
    "locked_directives",
    "locked_queues",
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


async def locked_queues(
    revisions: RevisionSet, workflow_ids: Iterable[WorkflowId]
) -> dict[WorkflowId, list[Queue]]:
    """Return the queues of locked workflows as they will be written."""
    changed = revisions.changed.queues
    found = await queues_of(revisions.tx, workflow_ids)
    for queues in found.values():
        queues[:] = [changed.get(queue.mqid, queue) for queue in queues]
    return found


async def locked_directives(revisions: RevisionSet, workflow_id: WorkflowId) -> list[TaskDirective]:
    """Return the task directives of a locked workflow as they will be written."""
    changed = revisions.changed.directives
    found = await directives_of(revisions.tx, [workflow_id])
    return [changed.get(directive.task_id, directive) for directive in found[workflow_id]]


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


def save_queues(
    revisions: RevisionSet, before: Mapping[Mqid, Queue], after: Sequence[Queue]
) -> None:
    """Have queues written of locked workflows; one that is as it was is left out."""
    changed = [queue for queue in after if queue != before[queue.mqid]]
    revisions.changed.queues.update((queue.mqid, queue) for queue in changed)
    for queue in changed:
        revisions[queue.workflow_id].queue_changed(queue)


def save_directives(
    revisions: RevisionSet, before: Mapping[TaskId, TaskDirective], after: Sequence[TaskDirective]
) -> None:
    """Have written what may change of task directives; one that is as it was is left out."""
    changed = [directive for directive in after if directive != before[directive.task_id]]
    revisions.changed.directives.update((d.task_id, d) for d in changed)
    for directive in changed:
        revisions[directive.workflow_id].directive_changed(directive)
