"""Taskforces: read under their workflow's lock, and written back in revisions.

No phase is changed but through `save`. Whoever calls it has locked the taskforces by one of the
functions here, within a revision of their workflow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import asyncpg

from ewms_postgres.statements import statement
from wms_grpc.domain.ids import TaskforceId, TaskId, WorkflowId
from wms_grpc.domain.model import Taskforce
from wms_grpc.domain.settlement import after_phase_changes
from wms_grpc.storage.pacing import paced
from wms_grpc.storage.records import phase_log_json, taskforce_from, taskforce_spec
from wms_grpc.storage.revisions import RevisionSet

__all__ = ["insert", "lock", "lock_of_tasks", "lock_of_workflows", "save"]

# The arrays stand in subqueries for the reason that `revisions` gives.
_LOCK = statement("""
    SELECT * FROM wms.taskforce WHERE taskforce_uuid = ANY((SELECT :uuids::text[])::text[])
    ORDER BY taskforce_uuid FOR UPDATE
""")

_LOCK_OF_WORKFLOWS = statement("""
    SELECT * FROM wms.taskforce WHERE workflow_id = ANY((SELECT :workflow_ids::text[])::text[])
    ORDER BY taskforce_uuid FOR UPDATE
""")

_LOCK_OF_TASKS = statement("""
    SELECT * FROM wms.taskforce WHERE task_id = ANY((SELECT :task_ids::text[])::text[])
    ORDER BY taskforce_uuid FOR UPDATE
""")

_INSERT = statement("""
    INSERT INTO wms.taskforce (taskforce_uuid, workflow_id, task_id, create_time, priority,
      cluster_location, schedd, n_workers, spec, phase, phase_log, waiting_reason)
    VALUES (:taskforce_uuid, :workflow_id, :task_id, :create_time, :priority, :cluster_location,
      :schedd, :n_workers, :spec, :phase, :phase_log, :waiting_reason)
""")


async def lock(revisions: RevisionSet, uuids: Iterable[TaskforceId]) -> list[Taskforce]:
    """Lock and return these taskforces, those of them that exist."""
    rows = await revisions.tx.fetch(_LOCK, uuids=list(uuids))
    return await _as_changed(revisions, rows)


async def lock_of_workflows(
    revisions: RevisionSet, workflow_ids: Iterable[WorkflowId]
) -> list[Taskforce]:
    """Lock and return all taskforces of these workflows."""
    rows = await revisions.tx.fetch(_LOCK_OF_WORKFLOWS, workflow_ids=list(workflow_ids))
    return await _as_changed(revisions, rows)


async def lock_of_tasks(revisions: RevisionSet, task_ids: Iterable[TaskId]) -> list[Taskforce]:
    """Lock and return all taskforces of these tasks."""
    rows = await revisions.tx.fetch(_LOCK_OF_TASKS, task_ids=list(task_ids))
    return await _as_changed(revisions, rows)


async def _as_changed(revisions: RevisionSet, rows: Iterable[asyncpg.Record]) -> list[Taskforce]:
    changed = revisions.changed.taskforces
    return await paced(lambda row: changed.get(row["taskforce_uuid"]) or taskforce_from(row), rows)


async def insert(revisions: RevisionSet, taskforce: Taskforce) -> None:
    """Write a new taskforce of a locked workflow, and count it."""
    revision = revisions[taskforce.workflow_id]
    await revisions.tx.execute(
        _INSERT,
        taskforce_uuid=taskforce.taskforce_uuid,
        workflow_id=taskforce.workflow_id,
        task_id=taskforce.task_id,
        create_time=taskforce.create_time,
        priority=taskforce.priority,
        cluster_location=taskforce.cluster_location,
        schedd=taskforce.schedd,
        n_workers=taskforce.n_workers,
        spec=taskforce_spec(taskforce),
        phase=taskforce.phase,
        phase_log=phase_log_json(taskforce.phase_log),
        waiting_reason=taskforce.waiting_reason,
    )
    revision.taskforce_added(taskforce)


async def save(
    revisions: RevisionSet, before: Mapping[TaskforceId, Taskforce], after: Sequence[Taskforce]
) -> None:
    """Have written what the domain made of locked taskforces, and all that follows from it.

    Adds to their workflows' revisions the taskforces, a line of history for each new entry of a
    phase log, and what the ends of taskforces mean for the workflow (`domain.settlement`).
    A taskforce that is as it was is left out.
    """
    changed = [t for t in after if t != before[t.taskforce_uuid]]
    if not changed:
        return
    revisions.changed.taskforces.update((t.taskforce_uuid, t) for t in changed)
    n_ended: Counter[WorkflowId] = Counter()

    def tell(taskforce: Taskforce) -> None:
        earlier = before[taskforce.taskforce_uuid]
        revisions[taskforce.workflow_id].taskforce_changed(taskforce, earlier)
        n_ended[taskforce.workflow_id] += taskforce.phase.has_ended - earlier.phase.has_ended

    await paced(tell, changed)
    for workflow_id, number in n_ended.items():
        revision = revisions[workflow_id]
        revision.workflow = after_phase_changes(revision.workflow, number, revision.now)
