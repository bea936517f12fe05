"""Launching: from PRE_LAUNCH to PENDING_STARTER, as long as a location has room."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from ewms_postgres.database import Executor
from ewms_postgres.statements import statement
from wms_grpc.domain.ids import TaskforceId, WorkflowId
from wms_grpc.domain.launching import HasTurn, count_launchable
from wms_grpc.domain.model import Cause, Phase, Taskforce, WorkflowState
from wms_grpc.domain.phases import advance
from wms_grpc.domain.submission import ClusterLocation
from wms_grpc.storage import taskforces as taskforce_storage
from wms_grpc.storage.revisions import RevisionSet
from wms_grpc.storage.store import Store

__all__ = ["Launch", "launch"]

_BATCH: Final = 500

_LOCK_LOCATION = statement("""
    SELECT pg_advisory_xact_lock(hashtextextended('wms.launch:' || :location::text, 0))
""")

_IDLE = statement("""
    SELECT coalesce(sum(n_idle), 0)::bigint FROM wms.taskforce
    WHERE cluster_location = :location AND phase IN ('PENDING_STARTER', 'CONDOR_SUBMIT')
""")

_WAITING = statement("""
    SELECT t.taskforce_uuid, t.workflow_id, t.n_workers, t.priority, t.waiting_reason
    FROM wms.taskforce t JOIN wms.workflow w USING (workflow_id)
    WHERE t.phase = 'PRE_LAUNCH' AND t.cluster_location = :location AND w.state = 'ACTIVE'
    ORDER BY t.priority DESC, t.create_time, t.taskforce_uuid
    LIMIT :most
""")


_IS_ANYONE_WAITING = statement("""
    SELECT EXISTS (SELECT FROM wms.taskforce
                   WHERE cluster_location = :location AND phase = 'PRE_LAUNCH')
""")


@dataclass(frozen=True, slots=True)
class Launch:
    """What one round of launching did at a location."""

    n_launched: int
    is_more: bool


@dataclass(frozen=True, slots=True)
class _Turn:
    going: frozenset[TaskforceId]
    workflow_ids: frozenset[WorkflowId]
    uuids: tuple[TaskforceId, ...]
    waiting_reason: str


async def launch(store: Store, location: ClusterLocation) -> Launch:
    """Launch what there is room for, by priority, then age, in one transaction.

    What waits for room is told so. The location's advisory lock keeps two servers from filling
    the same room; the taskforces are looked at again once their workflows are locked, since a
    workflow may have ended in between.
    """
    # A look without a lock: each worker that starts wakes this, and mostly nobody waits.
    if not await store.db.fetchval(_IS_ANYONE_WAITING, location=location.name):
        return Launch(0, is_more=False)
    async with store.revising([]) as revisions:
        turn = await _choose(revisions.tx, location)
        if not turn.uuids:
            return Launch(0, is_more=False)
        await revisions.lock(turn.workflow_ids)
        before = await taskforce_storage.lock(revisions, turn.uuids)
        after = [_launched(revisions, taskforce, turn, location) for taskforce in before]
        await taskforce_storage.save(revisions, {t.taskforce_uuid: t for t in before}, after)
        return Launch(len(turn.going), is_more=len(turn.going) == _BATCH)


async def _choose(executor: Executor, location: ClusterLocation) -> _Turn:
    await executor.execute(_LOCK_LOCATION, location=location.name)
    rows = await executor.fetch(_WAITING, location=location.name, most=_BATCH)
    if not rows:
        return _Turn(frozenset(), frozenset(), (), "")
    n_idle = int(await executor.fetchval(_IDLE, location=location.name))
    n_going = count_launchable(
        (HasTurn(row["n_workers"], row["priority"]) for row in rows),
        n_idle,
        location.max_idle_workers,
    )
    reason = (
        f"room at {location.name}: as many idle workers as its limit of "
        f"{location.max_idle_workers} allows"
    )
    concerned = [
        row
        for number, row in enumerate(rows)
        if number < n_going or row["waiting_reason"] != reason
    ]
    return _Turn(
        going=frozenset(row["taskforce_uuid"] for row in rows[:n_going]),
        workflow_ids=frozenset(row["workflow_id"] for row in concerned),
        uuids=tuple(row["taskforce_uuid"] for row in concerned),
        waiting_reason=reason,
    )


def _launched(
    revisions: RevisionSet, taskforce: Taskforce, turn: _Turn, location: ClusterLocation
) -> Taskforce:
    revision = revisions[taskforce.workflow_id]
    is_ready = (
        taskforce.phase is Phase.PRE_LAUNCH and revision.workflow.state is WorkflowState.ACTIVE
    )
    if not is_ready:
        return taskforce
    if taskforce.taskforce_uuid in turn.going:
        cause = Cause("launch", f"there is room at {location.name}")
        return advance(taskforce, Phase.PENDING_STARTER, cause, revision.now)
    return replace(taskforce, waiting_reason=turn.waiting_reason)
