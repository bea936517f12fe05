"""Agents' reports on single taskforces, each one transaction and safe to repeat."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from ewms_postgres.statements import statement
from wms_grpc.domain.attention import is_held, may_change
from wms_grpc.domain.errors import NotFound
from wms_grpc.domain.ids import TaskforceId, WorkflowId, workflow_of_taskforce
from wms_grpc.domain.model import Cause, Phase, Taskforce, WorkflowState
from wms_grpc.domain.topics import assign_topic
from wms_grpc.storage import lifecycle, taskforces
from wms_grpc.storage.attention import note_attention
from wms_grpc.storage.revisions import RevisionSet
from wms_grpc.storage.store import Store

__all__ = [
    "apply_report",
    "record_capacity",
    "stop_stray",
    "stray_ended",
    "stray_not_removed",
]

Applied = Callable[[Taskforce, datetime], Taskforce | None]

_ADD_STRAY = statement("""
    INSERT INTO wms.stray_cluster (taskforce_uuid, cluster_id, schedd, attempt, due)
    VALUES (:taskforce_uuid, :cluster_id, :schedd, :attempt, now())
    ON CONFLICT (taskforce_uuid, cluster_id) DO NOTHING
""")

_SCHEDD = statement("SELECT schedd FROM wms.taskforce WHERE taskforce_uuid = :taskforce_uuid")

_DROP_STRAY = statement("""
    DELETE FROM wms.stray_cluster
    WHERE taskforce_uuid = :taskforce_uuid AND cluster_id = :cluster_id
""")

_PUT_OFF_STRAY = statement("""
    UPDATE wms.stray_cluster
    SET due = now() + interval '10 s', assigned_session = NULL, assigned_time = NULL
    WHERE taskforce_uuid = :taskforce_uuid AND cluster_id = :cluster_id
""")

_RECORD_CAPACITY = statement("""
    INSERT INTO wms.capacity (schedd, report_time, report)
    VALUES (:schedd, now(), :report)
    ON CONFLICT (schedd) DO UPDATE
      SET report_time = excluded.report_time, report = excluded.report
""")


async def apply_report(store: Store, uuid: str, apply: Applied) -> Taskforce | None:
    """Apply a report to a taskforce; return the taskforce, None if the report is stale.

    Raises NotFound. What the report means for the workflow is part of the same revision: it
    settles with its last taskforce, fails when no taskforce of a task could be started, and says
    what there is to look at: a task without workers, a removal that does not work.
    """
    workflow_id = workflow_of_taskforce(uuid)
    if workflow_id is None:
        raise NotFound("taskforce", uuid)
    async with store.revising([workflow_id]) as revisions:
        found = await taskforces.lock(revisions, [TaskforceId(uuid)])
        if not found:
            raise NotFound("taskforce", uuid)
        before = found[0]
        after = apply(before, revisions[workflow_id].now)
        if after is None:
            return None
        await taskforces.save(revisions, {before.taskforce_uuid: before}, [after])
        is_concerned = may_change(revisions[workflow_id].workflow, before, after)
        if after.phase is Phase.CONDOR_SUBMIT and revisions[workflow_id].workflow.hold_running:
            # Submitted while its workflow was paused: its agent is to be told to hold it.
            revisions[workflow_id].wakes.add(assign_topic(after.schedd))
        if after.phase.has_ended and not before.phase.has_ended:
            is_concerned |= await _workers_ended(revisions, workflow_id, after)
        if is_concerned:
            await note_attention(revisions, workflow_id)
        return after


async def stop_stray(store: Store, taskforce_uuid: str, cluster_id: int, attempt: int) -> str:
    """Have a cluster stopped that is not its taskforce's own; return its schedd. Idempotent."""
    async with store.db.transaction() as tx:
        schedd = await tx.fetchval(_SCHEDD, taskforce_uuid=taskforce_uuid)
        await tx.execute(
            _ADD_STRAY,
            taskforce_uuid=taskforce_uuid,
            cluster_id=cluster_id,
            schedd=schedd,
            attempt=attempt,
        )
    return str(schedd)


async def stray_ended(store: Store, taskforce_uuid: str, cluster_id: int) -> None:
    """Note that a cluster which is nobody's is gone."""
    await store.db.execute(_DROP_STRAY, taskforce_uuid=taskforce_uuid, cluster_id=cluster_id)


async def stray_not_removed(store: Store, taskforce_uuid: str, cluster_id: int) -> None:
    """Have the removal of a cluster which is nobody's tried again."""
    await store.db.execute(_PUT_OFF_STRAY, taskforce_uuid=taskforce_uuid, cluster_id=cluster_id)


async def record_capacity(store: Store, schedd: str, report: dict[str, int]) -> None:
    """Keep what a schedd's pool has: the last report only."""
    await store.db.execute(_RECORD_CAPACITY, schedd=schedd, report=report)


async def _workers_ended(revisions: RevisionSet, workflow_id: WorkflowId, ended: Taskforce) -> bool:
    """Fail the workflow if no taskforce of the task could be started, unless it has a net: that is
    the task's own failure then, and the engine's matter.

    Return whether there is to look at what is left of the task's workers.
    """
    if revisions[workflow_id].workflow.state.is_terminal:
        return False
    siblings = await taskforces.lock_of_tasks(revisions, [ended.task_id])
    if all(t.phase is Phase.FAILED for t in siblings):
        if revisions[workflow_id].workflow.has_net:
            return False
        cause = Cause(
            "launch",
            f"no taskforce of task {ended.task_id} could be started: "
            f"{ended.phase_log[-1].cause.context}",
        )
        await lifecycle.end_workflow(revisions, workflow_id, WorkflowState.FAILED, cause)
        return False
    left = [t for t in siblings if not t.phase.has_ended]
    return not left or any(is_held(t.compound_statuses) for t in left)
