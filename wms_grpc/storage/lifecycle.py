"""A workflow's life: granted, steered by its user, drained, ended, released."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from ewms_postgres.errors import ConcurrencyConflict
from wms_grpc.domain.draining import drain
from wms_grpc.domain.ids import TaskId, WorkflowId
from wms_grpc.domain.model import (
    Cause,
    Phase,
    Queue,
    TaskDirective,
    Taskforce,
    WorkflowState,
)
from wms_grpc.domain.phases import advance, stop
from wms_grpc.domain.settlement import end
from wms_grpc.domain.submission import ClusterLocations
from wms_grpc.domain.translation import Plan
from wms_grpc.storage import queues as queue_storage
from wms_grpc.storage import taskforces as taskforce_storage
from wms_grpc.storage.attention import note_attention
from wms_grpc.storage.pacing import paced
from wms_grpc.storage.queues import QueueState
from wms_grpc.storage.revisions import Revision, RevisionSet
from wms_grpc.storage.store import Store

__all__ = [
    "QueueState",
    "close_requested",
    "end_workflow",
    "grant_at_once",
    "grant_queues",
    "record_queue_states",
    "stop_taskforces",
]


async def end_workflow(
    revisions: RevisionSet, workflow_id: WorkflowId, state: WorkflowState, cause: Cause
) -> int:
    """End a living, locked workflow and stop its taskforces; return how many are being stopped.

    Taskforces that are being stopped or have ended keep their phase, with the attempt logged.
    """
    revision = revisions[workflow_id]
    revision.workflow = end(
        revision.workflow, state, cause.context or f"ended by {cause.source}", revision.now
    )
    revision.record("STATE_CHANGE", workflow_id, state, cause)
    before = await taskforce_storage.lock_of_workflows(revisions, [workflow_id])
    after = await paced(lambda taskforce: stop(taskforce, cause, revision.now), before)
    await taskforce_storage.save(revisions, {t.taskforce_uuid: t for t in before}, after)
    await _renew_attention(revisions, revision)
    return sum(old.phase is not new.phase for old, new in zip(before, after, strict=True))


async def grant_queues(
    store: Store, workflow_id: WorkflowId, states: Sequence[QueueState], plan: Plan | None = None
) -> bool:
    """Store the grant of a workflow's queues and move its taskforces to PRE_LAUNCH.

    Returns False if the workflow has ended meanwhile: nothing is stored then, and its queues are
    released by the retirement. A paused workflow stays paused. Idempotent.

    `plan` spares reading what the submission wrote: it holds for as long as the workflow is at its
    first revision, since without another one nothing of a workflow changes that has no queues yet.
    """
    async with store.revising([workflow_id]) as revisions:
        revision = revisions[workflow_id]
        if revision.workflow.state.is_terminal:
            return False
        if revision.workflow.is_granted:
            return True
        queues, taskforces = await _as_submitted(revisions, revision, plan)
        granted = _granted(revision, states, queues, taskforces)
        await _save_grant(revisions, granted, queues, taskforces)
        if any(queue.is_close_requested for queue in queues):
            await _drain(revisions, revision, grace=timedelta(0))
    return True


async def grant_at_once(
    store: Store, states: Sequence[QueueState], locations: ClusterLocations, plan: Plan
) -> bool:
    """Do the same for a workflow that is as its plan says, and launch its taskforces; or neither.

    One statement instead of the transactions of grant and launch, which is what an idle system
    waits for. Returns False, with nothing stored, if the workflow has changed since, if a location
    has no room or somebody who waits, or if the plan has several taskforces for one, which are to
    be counted one by one.
    """
    n_taskforces = Counter(taskforce.cluster_location for taskforce in plan.taskforces)
    places = [locations.find(name) for name in n_taskforces]
    if any(n > 1 for n in n_taskforces.values()) or None in places:
        return False
    revisions = RevisionSet.unread(plan.workflow)
    (revision,) = revisions.all()
    granted = _granted(revision, states, plan.queues, plan.taskforces)
    launched = _Grant(
        granted.queues,
        [
            advance(
                taskforce,
                Phase.PENDING_STARTER,
                Cause("launch", f"there is room at {taskforce.cluster_location}"),
                revision.now,
            )
            for taskforce in granted.taskforces
        ],
    )
    await _save_grant(revisions, launched, plan.queues, plan.taskforces)
    room = {place.name: place.max_idle_workers for place in places if place}
    try:
        await store.write_at_once(revisions, room)
    except ConcurrencyConflict:
        return False
    return True


async def close_requested(
    revisions: RevisionSet, workflow_id: WorkflowId, alias: str, grace: timedelta
) -> Queue:
    """Note that the user sends no more to a public queue, and return it."""
    revision = revisions[workflow_id]
    before = (await queue_storage.locked_queues(revisions, [workflow_id]))[workflow_id]
    asked = next(queue for queue in before if queue.alias == alias)
    closing = replace(asked, is_close_requested=True)
    queue_storage.save_queues(revisions, {asked.mqid: asked}, [closing])
    await _drain(revisions, revision, grace)
    return closing


async def record_queue_states(
    store: Store,
    states: Mapping[WorkflowId, Sequence[QueueState]],
    grace: timedelta,
) -> None:
    """Store which queues are closed and drained and have dead letters, and all that follows.

    Tasks whose input queues are drained are done; queues that nobody writes to any more are due
    to close; a workflow whose tasks are all done succeeds. Idempotent.
    """
    async with store.revising(states) as revisions:
        known = await queue_storage.locked_queues(revisions, states)
        for revision in revisions.all():
            workflow_id = revision.workflow.workflow_id
            said = {state.mqid: state for state in states[workflow_id]}
            before = known[workflow_id]
            after = [_with_state(queue, said.get(queue.mqid)) for queue in before]
            for old, new in zip(before, after, strict=True):
                if new.is_drained and not old.is_drained:
                    revision.record("QUEUE", new.alias, "drained", Cause("mqs"))
                elif new.is_closed and not old.is_closed:
                    revision.record("QUEUE", new.alias, "closed", Cause("mqs"))
            queue_storage.save_queues(revisions, {q.mqid: q for q in before}, after)
            if revision.is_needed and not revision.workflow.state.is_terminal:
                await _drain(revisions, revision, grace)
            if any(new.n_dead != old.n_dead for old, new in zip(before, after, strict=True)):
                await note_attention(revisions, workflow_id)
            else:
                await _renew_attention(revisions, revision)


async def stop_taskforces(store: Store, task_ids: Mapping[TaskId, WorkflowId]) -> None:
    """Stop what is left of the workers of tasks that are done, after their grace."""
    cause = Cause("retirement", "the task is done")
    async with store.revising(task_ids.values()) as revisions:
        before = await taskforce_storage.lock_of_tasks(revisions, task_ids)
        after = [
            t if t.phase.has_ended else stop(t, cause, revisions[t.workflow_id].now) for t in before
        ]
        await taskforce_storage.save(revisions, {t.taskforce_uuid: t for t in before}, after)
        await queue_storage.clear_stop_due(revisions, task_ids)


async def _as_submitted(
    revisions: RevisionSet, revision: Revision, plan: Plan | None
) -> tuple[Sequence[Queue], Sequence[Taskforce]]:
    if plan and revision.workflow.revision == plan.workflow.revision:
        return plan.queues, plan.taskforces
    workflow_id = revision.workflow.workflow_id
    queues = (await queue_storage.locked_queues(revisions, [workflow_id]))[workflow_id]
    return queues, await taskforce_storage.lock_of_workflows(revisions, [workflow_id])


@dataclass(frozen=True, slots=True)
class _Grant:
    queues: Sequence[Queue]
    taskforces: Sequence[Taskforce]


def _granted(
    revision: Revision,
    states: Sequence[QueueState],
    queues: Sequence[Queue],
    taskforces: Sequence[Taskforce],
) -> _Grant:
    """Make the workflow one that has its queues, and return these and its taskforces then."""
    cause = Cause("activation", "its queues are granted")
    is_paused = revision.workflow.state is WorkflowState.PAUSED
    revision.workflow = replace(
        revision.workflow,
        state=WorkflowState.PAUSED if is_paused else WorkflowState.ACTIVE,
        active_time=revision.now,
        pending_reason="",
        retry_time=None,
        activation_due=None,
        claim_until=None,
    )
    if not is_paused:
        workflow_id = revision.workflow.workflow_id
        revision.record("STATE_CHANGE", workflow_id, WorkflowState.ACTIVE, cause)
    granted = {state.mqid: state for state in states}
    return _Grant(
        [_activated(queue, granted[queue.mqid]) for queue in queues],
        [
            advance(t, Phase.PRE_LAUNCH, cause, revision.now)
            if t.phase is Phase.PRE_MQ_ACTIVATION
            else t
            for t in taskforces
        ],
    )


async def _save_grant(
    revisions: RevisionSet,
    granted: _Grant,
    queues: Sequence[Queue],
    taskforces: Sequence[Taskforce],
) -> None:
    queue_storage.save_queues(revisions, {queue.mqid: queue for queue in queues}, granted.queues)
    before = {taskforce.taskforce_uuid: taskforce for taskforce in taskforces}
    await taskforce_storage.save(revisions, before, granted.taskforces)


async def _drain(revisions: RevisionSet, revision: Revision, grace: timedelta) -> None:
    workflow_id = revision.workflow.workflow_id
    directives = await queue_storage.locked_directives(revisions, workflow_id)
    queues = (await queue_storage.locked_queues(revisions, [workflow_id]))[workflow_id]
    drainage = drain(directives, queues, revision.now, grace)
    queue_storage.save_queues(revisions, {q.mqid: q for q in queues}, drainage.queues)
    _save_done(revisions, directives, drainage.directives)
    for directive in drainage.newly_done:
        revision.record(
            "TASK", directive.task_id, "done", Cause("draining", "its inputs are drained")
        )
    if drainage.is_finished and not revision.workflow.state.is_terminal:
        cause = Cause("draining", "every task is done")
        revision.workflow = end(
            revision.workflow, WorkflowState.SUCCEEDED, cause.context, revision.now
        )
        revision.record("STATE_CHANGE", workflow_id, WorkflowState.SUCCEEDED, cause)


async def _renew_attention(revisions: RevisionSet, revision: Revision) -> None:
    """Say anew what there is to look at, where something was: a change may have ended it.

    The last worker of a task, say, may have ended before its queues were known to be drained.
    """
    if revision.before.attention and revision.is_needed:
        await note_attention(revisions, revision.workflow.workflow_id)


def _save_done(
    revisions: RevisionSet, before: Sequence[TaskDirective], after: Sequence[TaskDirective]
) -> None:
    queue_storage.save_directives(revisions, {d.task_id: d for d in before}, after)


def _activated(queue: Queue, state: QueueState) -> Queue:
    return replace(
        _with_state(queue, state),
        is_activated=True,
        broker_type=state.broker_type,
        broker_address=state.broker_address,
        broker_tls=state.broker_tls,
    )


def _with_state(queue: Queue, state: QueueState | None) -> Queue:
    if state is None:
        return queue
    is_closed = queue.is_closed or state.is_closed
    return replace(
        queue,
        is_closed=is_closed,
        is_drained=queue.is_drained or state.is_drained,
        is_close_due=queue.is_close_due and not is_closed,
        n_dead=queue.n_dead if state.n_dead is None else state.n_dead,
    )
