"""What users do to a living workflow: each one transaction, safe to repeat by its request id."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

from ewms_postgres.statements import statement
from wms_grpc.domain.errors import NotAllowedNow, NotFound
from wms_grpc.domain.ids import TaskforceId, TaskId, WorkflowId, workflow_of_task
from wms_grpc.domain.model import Cause, Phase, Queue, Taskforce, TaskState, Workflow, WorkflowState
from wms_grpc.domain.settlement import require_alive
from wms_grpc.domain.submission import ClusterLocation
from wms_grpc.domain.tasks import WaitWork
from wms_grpc.domain.topics import assign_topic
from wms_grpc.domain.translation import PRIORITY_OF_ADDED_WORKERS, new_taskforce
from wms_grpc.storage import lifecycle, nets, queues, taskforces
from wms_grpc.storage.attention import note_attention
from wms_grpc.storage.requests import RequestKey, is_repeat
from wms_grpc.storage.revision_write import BEGIN
from wms_grpc.storage.revisions import Revision, RevisionSet
from wms_grpc.storage.store import Store

__all__ = [
    "Ended",
    "Update",
    "add_workers",
    "close_queue",
    "end",
    "pause",
    "resume",
    "signal_task",
    "update",
]

_HOLD = statement("""
    UPDATE wms.taskforce SET hold_wanted = :hold
    WHERE workflow_id = :workflow_id AND hold_wanted <> :hold
    RETURNING schedd
""")

_SCHEDDS = statement("""
    SELECT DISTINCT schedd FROM wms.taskforce
    WHERE workflow_id = :workflow_id AND assignment IS NOT NULL
""")


@dataclass(frozen=True, slots=True)
class Ended:
    """A workflow that was ended, and how many of its taskforces are being stopped."""

    workflow: Workflow
    n_taskforces: int


@dataclass(frozen=True, slots=True)
class Update:
    """What is to change of a workflow; None leaves it."""

    priority: int | None = None
    name: str | None = None
    labels: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class _Mutation:
    revisions: RevisionSet
    revision: Revision
    cause: Cause
    repeated: str | None


async def end(
    store: Store, workflow_id: WorkflowId, state: WorkflowState, reason: str, key: RequestKey
) -> Ended:
    """Finish or abort a workflow. Raises NotFound, NotAllowedNow if it has ended, AlreadyExists."""
    async with _mutating(store, workflow_id, key, reason) as mutation:
        revision = mutation.revision
        if mutation.repeated:
            return Ended(revision.workflow, revision.workflow.n_unended)
        require_alive(revision.workflow)
        n_taskforces = await lifecycle.end_workflow(
            mutation.revisions, workflow_id, state, mutation.cause
        )
    return Ended(revision.workflow, n_taskforces)


async def pause(
    store: Store, workflow_id: WorkflowId, key: RequestKey, *, hold_running: bool
) -> Workflow:
    """Launch and push nothing more; with `hold_running` also hold what runs.

    OK when repeated. Raises NotFound, NotAllowedNow if it has ended, AlreadyExists.
    """
    async with _mutating(store, workflow_id, key, "") as mutation:
        revision = mutation.revision
        if mutation.repeated:
            return revision.workflow
        require_alive(revision.workflow)
        if revision.workflow.state is not WorkflowState.PAUSED:
            revision.record("STATE_CHANGE", workflow_id, WorkflowState.PAUSED, mutation.cause)
        revision.workflow = replace(
            revision.workflow, state=WorkflowState.PAUSED, hold_running=hold_running
        )
        await _hold(mutation, hold=hold_running)
        if revision.workflow.attention:
            await note_attention(mutation.revisions, workflow_id)
    return revision.workflow


async def resume(store: Store, workflow_id: WorkflowId, key: RequestKey) -> Workflow:
    """Go on after a pause: ACTIVE if the queues are granted, else PENDING. OK when repeated.

    Raises NotFound, NotAllowedNow if it has ended, AlreadyExists.
    """
    async with _mutating(store, workflow_id, key, "") as mutation:
        revision = mutation.revision
        if mutation.repeated:
            return revision.workflow
        require_alive(revision.workflow)
        if revision.workflow.state is WorkflowState.PAUSED:
            was_held = revision.workflow.hold_running
            is_granted = revision.workflow.is_granted
            state = WorkflowState.ACTIVE if is_granted else WorkflowState.PENDING
            revision.workflow = replace(revision.workflow, state=state, hold_running=False)
            revision.record("STATE_CHANGE", workflow_id, state, mutation.cause)
            if revision.workflow.has_net and is_granted:
                mutation.revisions.tell_engine(workflow_id, BEGIN)
            await _hold(mutation, hold=False)
            if was_held:
                # What is still held now is so for a reason that nobody has told of before.
                await note_attention(mutation.revisions, workflow_id)
    return revision.workflow


async def update(
    store: Store, workflow_id: WorkflowId, changes: Update, key: RequestKey
) -> Workflow:
    """Change priority, name or labels; a new priority reorders the taskforces that wait.

    Raises NotFound, NotAllowedNow if it has ended, AlreadyExists.
    """
    async with _mutating(store, workflow_id, key, "") as mutation:
        revision = mutation.revision
        if mutation.repeated:
            return revision.workflow
        require_alive(revision.workflow)
        old = revision.workflow
        revision.workflow = replace(
            old,
            priority=old.priority if changes.priority is None else changes.priority,
            name=old.name if changes.name is None else changes.name,
            labels=old.labels if changes.labels is None else changes.labels,
        )
        raised_by = revision.workflow.priority - old.priority
        if raised_by:
            before = await taskforces.lock_of_workflows(mutation.revisions, [workflow_id])
            await taskforces.save(
                mutation.revisions,
                {t.taskforce_uuid: t for t in before},
                [
                    t
                    if t.phase.has_ended or t.cluster_id is not None
                    else replace(t, priority=t.priority + raised_by)
                    for t in before
                ],
            )
    return revision.workflow


async def close_queue(
    store: Store, workflow_id: WorkflowId, alias: str, key: RequestKey, grace: timedelta
) -> Queue:
    """Note that the user sends no more to a public queue. OK when repeated, in any state.

    Raises NotFound, NotAllowedNow for a private queue, AlreadyExists.
    """
    async with _mutating(store, workflow_id, key, f"queue {alias}") as mutation:
        found = (await queues.locked_queues(mutation.revisions, [workflow_id]))[workflow_id]
        queue = next((queue for queue in found if queue.alias == alias), None)
        if queue is None:
            raise NotFound("queue", f"{workflow_id}/{alias}")
        if not queue.is_public:
            raise NotAllowedNow(
                "PRIVATE_QUEUE", alias, f"queue {alias} is private: it closes by itself"
            )
        if mutation.repeated or queue.is_close_requested:
            return queue
        require_alive(mutation.revision.workflow)
        return await lifecycle.close_requested(mutation.revisions, workflow_id, alias, grace)


async def add_workers(
    store: Store, task_id: str, location: ClusterLocation, n_workers: int, key: RequestKey
) -> Taskforce:
    """Make one more taskforce of a task, with priority above the user's range.

    Raises NotFound, NotAllowedNow if the workflow has ended or the task is done, AlreadyExists.
    """
    workflow_id = workflow_of_task(task_id)
    if workflow_id is None:
        raise NotFound("task directive", task_id)
    async with store.revising([workflow_id]) as revisions:
        revision = revisions.get(workflow_id)
        directives = await queues.locked_directives(revisions, workflow_id)
        directive = next((d for d in directives if d.task_id == task_id), None)
        if revision is None or directive is None:
            raise NotFound("task directive", task_id)
        existing = await taskforces.lock_of_tasks(revisions, [TaskId(task_id)])
        cause = Cause(f"user {key.owner}", f"{n_workers} workers added at {location.name}")
        added = new_taskforce(
            directive,
            location,
            len(existing),
            priority=revision.workflow.priority + PRIORITY_OF_ADDED_WORKERS,
            phase=Phase.PRE_LAUNCH if revision.workflow.is_granted else Phase.PRE_MQ_ACTIVATION,
            cause=cause,
            now=revision.now,
            n_workers=n_workers,
        )
        repeated = await is_repeat(revisions, key, workflow_id, added.taskforce_uuid)
        if repeated:
            return (await taskforces.lock(revisions, [TaskforceId(repeated)]))[0]
        require_alive(revision.workflow)
        if directive.is_done:
            raise NotAllowedNow("TASK_DONE", task_id, f"task {directive.name} is done")
        if directive.state not in (None, TaskState.RUNNING) or directive.work is not None:
            raise NotAllowedNow(
                "TASK_NOT_RUNNING", task_id, f"task {directive.name} has no workers"
            )
        revision.record("REQUEST", task_id, key.rpc, cause)
        await taskforces.insert(revisions, [added])
        if revision.workflow.attention:
            await note_attention(revisions, workflow_id)
    return added


async def signal_task(
    store: Store, workflow_id: WorkflowId, task: str, signal: str, key: RequestKey
) -> None:
    """Pass a signal to a task, which may wait for it only later. OK when repeated.

    Raises NotFound, NotAllowedNow if the workflow has ended or the task waits for no such signal,
    AlreadyExists.
    """
    async with _mutating(store, workflow_id, key, f"{signal} for {task}") as mutation:
        numbers = await nets.numbers_of(mutation.revisions.tx, workflow_id, [task])
        if task not in numbers:
            raise NotFound("task", f"{workflow_id}/{task}")
        if mutation.repeated:
            return
        require_alive(mutation.revision.workflow)
        found = await nets.directives(mutation.revisions, workflow_id, numbers.values())
        work = found[numbers[task]].work if found else None
        if not isinstance(work, WaitWork) or work.signal != signal:
            raise NotAllowedNow("NO_SUCH_SIGNAL", task, f"task {task} waits for no signal {signal}")
        await nets.note_signal(mutation.revisions, workflow_id, numbers[task])


@asynccontextmanager
async def _mutating(
    store: Store, workflow_id: WorkflowId, key: RequestKey, reason: str
) -> AsyncIterator[_Mutation]:
    async with store.revising([workflow_id]) as revisions:
        revision = revisions.get(workflow_id)
        if revision is None:
            raise NotFound("workflow", workflow_id)
        repeated = await is_repeat(revisions, key, workflow_id, workflow_id)
        cause = Cause(f"user {key.owner}", reason)
        if not repeated:
            revision.record("REQUEST", workflow_id, key.rpc, cause)
        yield _Mutation(revisions, revision, cause, repeated)


async def _hold(mutation: _Mutation, *, hold: bool) -> None:
    workflow_id = mutation.revision.workflow.workflow_id
    tx = mutation.revisions.tx
    held = await tx.fetch(_HOLD, workflow_id=workflow_id, hold=hold)
    waiting = await tx.fetch(_SCHEDDS, workflow_id=workflow_id)
    mutation.revision.wakes |= {assign_topic(row["schedd"]) for row in (*held, *waiting)}
