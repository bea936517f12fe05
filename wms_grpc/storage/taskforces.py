"""Taskforces: read under their workflow's lock, and written back in revisions.

`save` holds the only UPDATE of a phase. Whoever calls it has locked the taskforces by one of the
functions here, within a revision of their workflow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from ewms_postgres.statements import statement
from wms_grpc.domain.ids import TaskforceId, TaskId, WorkflowId
from wms_grpc.domain.model import Taskforce
from wms_grpc.domain.settlement import after_phase_changes
from wms_grpc.storage.pacing import paced
from wms_grpc.storage.records import (
    outcomes_json,
    phase_log_json,
    taskforce_from,
    taskforce_spec,
)
from wms_grpc.storage.revisions import RevisionSet

__all__ = ["insert", "lock", "lock_of_tasks", "lock_of_workflows", "save"]

_LOCK = statement("""
    SELECT * FROM wms.taskforce WHERE taskforce_uuid = ANY(:uuids::text[])
    ORDER BY taskforce_uuid FOR UPDATE
""")

_LOCK_OF_WORKFLOWS = statement("""
    SELECT * FROM wms.taskforce WHERE workflow_id = ANY(:workflow_ids::text[])
    ORDER BY taskforce_uuid FOR UPDATE
""")

_LOCK_OF_TASKS = statement("""
    SELECT * FROM wms.taskforce WHERE task_id = ANY(:task_ids::text[])
    ORDER BY taskforce_uuid FOR UPDATE
""")

_SAVE = statement("""
    UPDATE wms.taskforce t SET
      priority = c.priority, phase = c.phase, phase_log = c.phase_log,
      waiting_reason = c.waiting_reason, cluster_id = c.cluster_id, submit_dict = c.submit_dict,
      job_event_log_fpath = c.job_event_log_fpath, n_refusals = c.n_refusals,
      n_failures = c.n_failures, outcomes = c.outcomes,
      condor_complete_time = c.condor_complete_time, n_idle = c.n_idle,
      assignment = c.assignment, assignment_due = c.assignment_due,
      assigned_session = c.assigned_session, assigned_time = c.assigned_time
    FROM unnest(
      :id::text[], :priority::int[], :phase::text[], :phase_log::jsonb[],
      :waiting_reason::text[], :cluster_id::bigint[], :submit_dict::jsonb[], :log::text[],
      :n_refusals::int[], :n_failures::int[], :outcomes::jsonb[],
      :complete_time::timestamptz[], :n_idle::int[], :assignment::text[],
      :assignment_due::timestamptz[], :assigned_session::bigint[], :assigned_time::timestamptz[]
    ) AS c (id, priority, phase, phase_log, waiting_reason, cluster_id, submit_dict,
            job_event_log_fpath, n_refusals, n_failures, outcomes, condor_complete_time, n_idle,
            assignment, assignment_due, assigned_session, assigned_time)
    WHERE t.taskforce_uuid = c.id
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
    return await paced(taskforce_from, rows)


async def lock_of_workflows(
    revisions: RevisionSet, workflow_ids: Iterable[WorkflowId]
) -> list[Taskforce]:
    """Lock and return all taskforces of these workflows."""
    rows = await revisions.tx.fetch(_LOCK_OF_WORKFLOWS, workflow_ids=list(workflow_ids))
    return await paced(taskforce_from, rows)


async def lock_of_tasks(revisions: RevisionSet, task_ids: Iterable[TaskId]) -> list[Taskforce]:
    """Lock and return all taskforces of these tasks."""
    rows = await revisions.tx.fetch(_LOCK_OF_TASKS, task_ids=list(task_ids))
    return await paced(taskforce_from, rows)


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
    """Write what the domain made of locked taskforces, and all that follows from it.

    Adds to their workflows' revisions the taskforces, a line of history for each new entry of a
    phase log, and what the ends of taskforces mean for the workflow (`domain.settlement`).
    A taskforce that is as it was is left out.
    """
    changed = [t for t in after if t != before[t.taskforce_uuid]]
    if not changed:
        return
    await revisions.tx.execute(
        _SAVE,
        id=[t.taskforce_uuid for t in changed],
        priority=[t.priority for t in changed],
        phase=[t.phase for t in changed],
        phase_log=await paced(lambda t: phase_log_json(t.phase_log), changed),
        waiting_reason=[t.waiting_reason for t in changed],
        cluster_id=[t.cluster_id for t in changed],
        submit_dict=[t.submit_dict for t in changed],
        log=[t.job_event_log_fpath for t in changed],
        n_refusals=[t.n_refusals for t in changed],
        n_failures=[t.n_failures for t in changed],
        outcomes=[outcomes_json(t.outcomes) for t in changed],
        complete_time=[t.condor_complete_time for t in changed],
        n_idle=[t.n_idle for t in changed],
        assignment=[t.assignment for t in changed],
        assignment_due=[t.assignment_due for t in changed],
        assigned_session=[t.assigned_session for t in changed],
        assigned_time=[t.assigned_time for t in changed],
    )
    n_ended: Counter[WorkflowId] = Counter()

    def tell(taskforce: Taskforce) -> None:
        earlier = before[taskforce.taskforce_uuid]
        revisions[taskforce.workflow_id].taskforce_changed(taskforce, earlier)
        n_ended[taskforce.workflow_id] += taskforce.phase.has_ended - earlier.phase.has_ended

    await paced(tell, changed)
    for workflow_id, number in n_ended.items():
        revision = revisions[workflow_id]
        revision.workflow = after_phase_changes(revision.workflow, number, revision.now)
