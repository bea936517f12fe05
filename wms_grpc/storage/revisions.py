"""Revisions: the only way in which a workflow, or anything that belongs to one, is changed.

A revision is one transaction's changes to one workflow. `revising` locks the workflows' rows, in
the order of their ids, hands out a `Revision` for each, and at the end writes in one statement the
workflows, the feed, the outbox and the history. So a workflow's revisions are consecutive
integers, and a change without its revision, or a revision without its change, cannot be.

Whoever locks taskforces, task directives or queues as well does so after the workflows.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import structlog

from ewms.wms.v1 import taskforce_pb2, watch_pb2
from ewms_postgres.database import Database, Transaction
from ewms_postgres.statements import statement
from wms_grpc.domain.ids import WorkflowId
from wms_grpc.domain.model import (
    Cause,
    HistoryKind,
    HistoryLine,
    Queue,
    TaskDirective,
    Taskforce,
    Workflow,
)
from wms_grpc.domain.topics import (
    CLOSING,
    RETIREMENT,
    Topic,
    topics_of_taskforce,
    topics_of_workflow,
)
from wms_grpc.storage import messages
from wms_grpc.storage.encoded_revisions import CommittedPart, encode_revision
from wms_grpc.storage.records import workflow_from
from wms_grpc.storage.revision_write import (
    Changed,
    WrittenLine,
    write_revisions,
    write_unread,
)

__all__ = ["Revision", "RevisionSet", "revising", "write_at_once"]

_log = structlog.get_logger(__name__)

# In a subquery, an array is as long as it may be for the planner: it would otherwise take a plan
# for this one array for cheaper, each time anew, and planning costs more than the statement.
_LOCK = statement("""
    SELECT * FROM wms.workflow
    WHERE workflow_id = ANY((SELECT :workflow_ids::text[])::text[])
    ORDER BY workflow_id
    FOR UPDATE
""")


class Revision:
    """One workflow, locked, and what is being changed of it.

    `workflow` is the workflow as it is to be; assign to it to change it. What belongs to it is
    changed by the functions of its own storage module, which tell the revision.
    """

    def __init__(self, workflow: Workflow, now: datetime) -> None:
        self.before = workflow
        self.workflow = workflow
        self.now = now
        self.changes: list[watch_pb2.Change] = []
        self.history: list[HistoryLine] = []
        self.wakes: set[Topic] = set()

    @property
    def is_needed(self) -> bool:
        """Whether anything was changed."""
        return bool(self.changes or self.history) or self.workflow != self.before

    def record(
        self,
        kind: HistoryKind,
        subject: str,
        what: str,
        cause: Cause,
        *,
        was_successful: bool = True,
    ) -> None:
        """Add a line to the workflow's history."""
        self.history.append(HistoryLine(kind, subject, what, cause, was_successful))

    def directive_changed(self, directive: TaskDirective) -> None:
        """Say what a task directive is now."""
        self.changes.append(
            watch_pb2.Change(task_directive=messages.task_directive_message(directive))
        )
        if directive.stop_due:
            self.wakes.add(RETIREMENT)

    def taskforce_added(self, taskforce: Taskforce) -> None:
        """Say that there is a new taskforce, and count it."""
        self.workflow = replace(
            self.workflow,
            n_taskforces=self.workflow.n_taskforces + 1,
            n_unended=self.workflow.n_unended + 1,
        )
        self.changes.append(watch_pb2.Change(taskforce=messages.taskforce_message(taskforce)))
        self._record_phases(taskforce)
        self.wakes |= topics_of_taskforce(taskforce, None)

    def taskforce_changed(self, taskforce: Taskforce, before: Taskforce) -> None:
        """Say what a taskforce is now, and what it was."""
        self.changes.append(
            watch_pb2.Change(
                taskforce=messages.taskforce_message(taskforce),
                previous_phase=messages.PHASE[before.phase],
            )
        )
        self._record_phases(taskforce)
        self.wakes |= topics_of_taskforce(taskforce, before)

    def _record_phases(self, taskforce: Taskforce) -> None:
        for change in taskforce.phase_log:
            # What this revision logged bears its time, and nothing else does.
            if change.time == self.now:
                self.record(
                    "PHASE_CHANGE",
                    taskforce.taskforce_uuid,
                    change.target,
                    change.cause,
                    was_successful=change.was_successful,
                )

    def statuses_changed(self) -> taskforce_pb2.TaskforceStatus:
        """Return where a taskforce's statuses are to be written, as they are now.

        Written in place, since a message that is put into another one is copied: that counts with
        hundreds of taskforces in a report.
        """
        change = watch_pb2.Change()
        self.changes.append(change)
        return change.taskforce_status

    def queue_changed(self, queue: Queue) -> None:
        """Say what a queue is now."""
        self.changes.append(watch_pb2.Change(queue=messages.queue_message(queue)))
        if queue.is_close_due:
            self.wakes.add(CLOSING)

    def topics(self) -> set[Topic]:
        """Return which loops have something to do now."""
        return self.wakes | topics_of_workflow(self.workflow, self.before)

    def parts(self) -> list[CommittedPart]:
        """Number the revision and encode it."""
        is_changed = self.workflow != self.before
        self.workflow = replace(self.workflow, revision=self.before.revision + 1)
        changes = self.changes
        if is_changed:
            workflow = watch_pb2.Change(workflow=messages.workflow_message(self.workflow))
            changes = [workflow, *changes]
        return encode_revision(self.workflow, changes, self.now, before=self.before)


class RevisionSet:
    """The revisions of one transaction, by workflow.

    `changed` holds what is to be written with them: who reads a row again within the transaction
    finds it there and not in the table.
    """

    def __init__(self, tx: Transaction | None) -> None:
        self._tx = tx
        self.changed = Changed()
        self._revisions: dict[WorkflowId, Revision] = {}

    @classmethod
    def unread(cls, workflow: Workflow) -> RevisionSet:
        """One of a workflow that is taken to be so, without a transaction; see `write_at_once`."""
        revisions = cls(None)
        revisions._revisions = {workflow.workflow_id: Revision(workflow, datetime.now(UTC))}
        return revisions

    @property
    def tx(self) -> Transaction:
        """The transaction. Whoever asks for it reads or writes, which needs one."""
        if self._tx is None:
            raise LookupError("there is no transaction")
        return self._tx

    async def lock(self, workflow_ids: Iterable[WorkflowId]) -> None:
        """Lock workflows, in the order of their ids. One that does not exist is left out.

        To be called once in a transaction: two calls could lock in two orders.
        """
        rows = await self.tx.fetch(_LOCK, workflow_ids=sorted(set(workflow_ids)))
        now = datetime.now(UTC)
        self._revisions = {
            WorkflowId(row["workflow_id"]): Revision(workflow_from(row), now) for row in rows
        }

    def get(self, workflow_id: WorkflowId) -> Revision | None:
        """Return the workflow's revision, None if there is no such workflow."""
        return self._revisions.get(workflow_id)

    def __getitem__(self, workflow_id: WorkflowId) -> Revision:
        return self._revisions[workflow_id]

    def all(self) -> list[Revision]:
        """Return every revision, in the order of the workflows' ids."""
        return list(self._revisions.values())


@asynccontextmanager
async def revising(
    db: Database,
    workflow_ids: Iterable[WorkflowId],
    on_commit: Callable[[Sequence[CommittedPart], AbstractSet[Topic]], None],
) -> AsyncIterator[RevisionSet]:
    """Change workflows in one transaction, one revision each.

    Parameters
    ----------
    db
        The database.
    workflow_ids
        The workflows to lock. Empty: the block finds them out and calls `lock` itself.
    on_commit
        Is given what was committed, at once after the commit, and the topics that concerns: it
        wakes who watches and who works on.

    Nothing is written for a workflow that was not changed. If the block raises, nothing is.
    """
    ids = list(workflow_ids)
    async with db.transaction() as tx:
        revisions = RevisionSet(tx)
        if ids:
            await revisions.lock(ids)
        yield revisions
        needed = [revision for revision in revisions.all() if revision.is_needed]
        if needed:
            parts = await _write(tx, needed, revisions.changed)
            topics = {topic for revision in needed for topic in revision.topics()}
            tx.after_commit(lambda: on_commit(parts, topics))
            tx.after_commit(lambda: _log_states_soon(needed))


async def write_at_once(
    db: Database,
    revisions: RevisionSet,
    room: Mapping[str, int],
    on_commit: Callable[[Sequence[CommittedPart], AbstractSet[Topic]], None],
) -> None:
    """Write the revision of an unread workflow, in one statement instead of a transaction.

    Raises ConcurrencyConflict as `revision_write.write_unread` does.
    """
    (revision,) = revisions.all()
    parts, lines = await _encoded([revision])
    await write_unread(db, revision.workflow, revisions.changed, parts, lines, room)
    on_commit(parts, revision.topics())
    _log_states_soon([revision])


def _log_states_soon(revisions: Sequence[Revision]) -> None:
    """Log once those that the commit wakes have had their turn."""
    asyncio.get_running_loop().call_soon(_log_states, revisions)


def _log_states(revisions: Iterable[Revision]) -> None:
    for revision in revisions:
        for line in revision.history:
            if line.kind == "STATE_CHANGE":
                _log.info(
                    "workflow",
                    workflow_id=revision.workflow.workflow_id,
                    state=line.what,
                    by=line.cause.source,
                    why=line.cause.context,
                )


async def _write(
    tx: Transaction, revisions: Sequence[Revision], changed: Changed
) -> list[CommittedPart]:
    parts, lines = await _encoded(revisions)
    workflows = [revision.workflow for revision in revisions]
    await write_revisions(tx, workflows, changed, parts, lines)
    return parts


async def _encoded(
    revisions: Sequence[Revision],
) -> tuple[list[CommittedPart], list[WrittenLine]]:
    """Number the revisions and encode them; return their lines of history, too."""
    parts: list[CommittedPart] = []
    for number, revision in enumerate(revisions):
        parts += revision.parts()
        if number % 16 == 15:
            # Encoding many large revisions must not keep every other call waiting.
            await asyncio.sleep(0)
    lines = [
        WrittenLine(revision.workflow.workflow_id, revision.workflow.revision, revision.now, line)
        for revision in revisions
        for line in revision.history
    ]
    return parts, lines
