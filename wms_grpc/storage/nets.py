"""Nets of dependencies in the database: stored once, counted down, read back.

Every function works under the lock of the workflow's row, which the caller holds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from ewms_postgres.database import Executor, Transaction
from ewms_postgres.statements import statement
from wms_grpc.domain.ids import TaskforceId, WorkflowId
from wms_grpc.domain.model import TaskDirective, TaskState
from wms_grpc.domain.net_plan import NetPlan
from wms_grpc.storage.queues import locked_directives, save_directives
from wms_grpc.storage.records import directive_from
from wms_grpc.storage.revision_write import BEGIN, write_changed
from wms_grpc.storage.revisions import Revision, RevisionSet

__all__ = [
    "Enabled",
    "Occurrence",
    "claim_net",
    "count_down",
    "directives",
    "enabled",
    "failed_tasks",
    "insert_net",
    "next_due",
    "note_signal",
    "numbers_of",
    "occurrences",
    "save_occurrences",
    "served_by",
    "signalled",
    "stop",
    "take_due",
    "take_news",
]

_MOST_NEWS: Final = 1_000

_INSERT = statement("""
    WITH transitions AS (
      INSERT INTO wms.transition (workflow_id, number, kind, serves, missing)
      SELECT :workflow_id, t.number, t.kind, t.serves, t.n_in
      FROM unnest(:number::int[], :kind::text[], :serves::int[], :n_in::int[])
        AS t (number, kind, serves, n_in)
    ), edges AS (
      INSERT INTO wms.edge (workflow_id, src, dst)
      SELECT :workflow_id, e.src, e.dst FROM unnest(:src::int[], :dst::int[]) AS e (src, dst)
    )
    INSERT INTO wms.inbox (workflow_id, transition, what)
    SELECT :workflow_id, -1, :begin WHERE :is_ready::bool
""")

_CLAIM = statement("""
    SELECT w.workflow_id FROM wms.workflow w
    WHERE w.workflow_id IN (
        SELECT workflow_id FROM wms.inbox
        UNION ALL SELECT workflow_id FROM wms.occurrence WHERE due_at <= now())
      AND (w.state <> 'PAUSED'
        OR EXISTS (SELECT FROM wms.inbox i WHERE i.workflow_id = w.workflow_id))
    LIMIT 1
    FOR UPDATE SKIP LOCKED
""")

_NEXT_DUE = statement("""
    SELECT extract(epoch FROM min(o.due_at) - now())::float8
    FROM wms.occurrence o JOIN wms.workflow w USING (workflow_id)
    WHERE o.due_at IS NOT NULL AND w.state <> 'PAUSED'
""")

_TAKE_NEWS = statement("""
    DELETE FROM wms.inbox WHERE id = ANY (ARRAY(
      SELECT id FROM wms.inbox WHERE workflow_id = :workflow_id ORDER BY id LIMIT :most))
    RETURNING transition, what
""")

_TAKE_DUE = statement("""
    UPDATE wms.occurrence SET due_at = NULL
    WHERE workflow_id = :workflow_id AND due_at <= now()
    RETURNING transition
""")

# Joined with what is asked for, never `= ANY`: a plan for any array takes that for a filter on all
# rows of the workflow, which is quadratic.
_COUNT_DOWN = statement("""
    WITH hit AS (
      SELECT e.dst, count(*) AS n
      FROM unnest(:done::int[]) AS d (number)
      JOIN wms.edge e ON e.workflow_id = :workflow_id AND e.src = d.number
      GROUP BY e.dst
    ), counted AS (
      UPDATE wms.transition t SET missing = t.missing - hit.n
      FROM hit WHERE t.workflow_id = :workflow_id AND t.number = hit.dst
      RETURNING t.number, t.kind, t.missing
    )
    SELECT number, kind FROM counted WHERE missing = 0 ORDER BY number
""")

_ENABLED = statement("""
    SELECT t.number, t.kind FROM wms.transition t
    JOIN wms.task_directive d ON d.workflow_id = t.workflow_id AND d.number = t.number
    WHERE t.workflow_id = :workflow_id AND t.missing = 0 AND t.serves IS NULL
      AND d.state = 'WAITING'
    ORDER BY t.number LIMIT :most
""")

_DIRECTIVES = statement("""
    SELECT d.* FROM unnest(:numbers::int[]) AS n (number)
    JOIN wms.task_directive d ON d.workflow_id = :workflow_id AND d.number = n.number
""")

_NUMBERS = statement("""
    SELECT name, number FROM wms.task_directive
    WHERE workflow_id = :workflow_id AND name = ANY(:names::text[])
""")

_SERVED_BY = statement("""
    SELECT t.number, t.serves FROM unnest(:numbers::int[]) AS n (number)
    JOIN wms.transition t ON t.workflow_id = :workflow_id AND t.number = n.number
    WHERE t.serves IS NOT NULL
""")

_FAILED = statement("""
    SELECT * FROM wms.task_directive
    WHERE workflow_id = :workflow_id AND state = 'FAILED' ORDER BY number LIMIT :most
""")

_OCCURRENCES = statement("""
    SELECT o.transition, o.try, o.is_over, o.taskforce_uuid
    FROM unnest(:transitions::int[]) AS n (number)
    JOIN wms.occurrence o ON o.workflow_id = :workflow_id AND o.transition = n.number
""")

_SAVE_OCCURRENCES = statement("""
    INSERT INTO wms.occurrence (workflow_id, transition, try, is_over, taskforce_uuid, due_at)
    SELECT :workflow_id, o.* FROM unnest(:transition::int[], :try::int[], :is_over::bool[],
      :taskforce_uuid::text[], :due_at::timestamptz[])
      AS o (transition, try, is_over, taskforce_uuid, due_at)
    ON CONFLICT (workflow_id, transition) DO UPDATE
      SET try = excluded.try, is_over = excluded.is_over,
          taskforce_uuid = excluded.taskforce_uuid, due_at = excluded.due_at
""")

_NOTE_SIGNAL = statement("""
    INSERT INTO wms.signal (workflow_id, transition) VALUES (:workflow_id, :transition)
    ON CONFLICT DO NOTHING
""")

_SIGNALLED = statement("""
    SELECT s.transition FROM unnest(:transitions::int[]) AS n (number)
    JOIN wms.signal s ON s.workflow_id = :workflow_id AND s.transition = n.number
""")

_FORGET = statement("""
    WITH over AS (
      UPDATE wms.occurrence SET is_over = true, due_at = NULL
      WHERE workflow_id = :workflow_id AND NOT is_over
    )
    DELETE FROM wms.inbox WHERE workflow_id = :workflow_id
""")


@dataclass(frozen=True, slots=True)
class Enabled:
    """A transition that may fire."""

    number: int
    kind: str


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A transition that has started: the try that it is at, and what it waits for."""

    transition: int
    number_of_try: int
    is_over: bool = False
    taskforce_uuid: TaskforceId | None = None
    due_at: datetime | None = None


async def insert_net(
    tx: Transaction, workflow_id: WorkflowId, net: NetPlan, *, is_ready: bool
) -> None:
    """Store a net with its workflow; `is_ready`: it needs no queues, and begins at once."""
    await tx.execute(
        _INSERT,
        workflow_id=workflow_id,
        number=[t.number for t in net.transitions],
        kind=[t.kind for t in net.transitions],
        serves=[t.serves for t in net.transitions],
        n_in=[t.n_in for t in net.transitions],
        src=[src for src, _ in net.edges],
        dst=[dst for _, dst in net.edges],
        begin=BEGIN,
        is_ready=is_ready,
    )


async def claim_net(tx: Transaction) -> WorkflowId | None:
    """Lock a workflow that has something in its inbox, or a timer that has run out.

    One that another engine has locked is passed over; None when there is no other.
    """
    found = await tx.fetchval(_CLAIM)
    return None if found is None else WorkflowId(found)


async def next_due(executor: Executor) -> float | None:
    """Return the seconds until the next timer or retry, None if there is none."""
    due = await executor.fetchval(_NEXT_DUE)
    return None if due is None else float(due)


async def take_news(tx: Transaction, workflow_id: WorkflowId) -> list[tuple[int, str]]:
    """Take the oldest of what is in a workflow's inbox: transition and what there is of it."""
    rows = await tx.fetch(_TAKE_NEWS, workflow_id=workflow_id, most=_MOST_NEWS)
    return [(row["transition"], row["what"]) for row in rows]


async def take_due(tx: Transaction, workflow_id: WorkflowId) -> list[int]:
    """Take the transitions whose timers have run out."""
    return [row["transition"] for row in await tx.fetch(_TAKE_DUE, workflow_id=workflow_id)]


async def count_down(
    tx: Transaction, workflow_id: WorkflowId, done: Collection[int]
) -> list[Enabled]:
    """Mark the places behind transitions that are done; return what that enables, in order."""
    if not done:
        return []
    rows = await tx.fetch(_COUNT_DOWN, workflow_id=workflow_id, done=list(done))
    return [Enabled(row["number"], row["kind"]) for row in rows]


async def enabled(revisions: RevisionSet, workflow_id: WorkflowId, most: int) -> list[Enabled]:
    """Return tasks of a locked workflow that are enabled and have not fired, the first of them."""
    await write_changed(revisions.tx, revisions.changed)
    rows = await revisions.tx.fetch(_ENABLED, workflow_id=workflow_id, most=most)
    return [Enabled(row["number"], row["kind"]) for row in rows]


async def directives(
    revisions: RevisionSet, workflow_id: WorkflowId, numbers: Iterable[int]
) -> dict[int, TaskDirective]:
    """Return tasks of a locked workflow, by number, as they will be written."""
    wanted = list(numbers)
    if not wanted:
        return {}
    rows = await revisions.tx.fetch(_DIRECTIVES, workflow_id=workflow_id, numbers=wanted)
    changed = revisions.changed.directives
    found = (directive_from(row) for row in rows)
    return {d.number: changed.get(d.task_id, d) for d in found}


async def numbers_of(
    executor: Executor, workflow_id: WorkflowId, names: Collection[str]
) -> dict[str, int]:
    """Return the numbers of tasks by their names, of those that there are."""
    if not names:
        return {}
    rows = await executor.fetch(_NUMBERS, workflow_id=workflow_id, names=list(names))
    return {row["name"]: row["number"] for row in rows}


async def served_by(
    executor: Executor, workflow_id: WorkflowId, numbers: Collection[int]
) -> dict[int, int]:
    """Return which task each of these recovers, of those that are recoveries."""
    rows = await executor.fetch(_SERVED_BY, workflow_id=workflow_id, numbers=list(numbers))
    return {row["number"]: row["serves"] for row in rows}


async def failed_tasks(
    revisions: RevisionSet, workflow_id: WorkflowId, most: int
) -> list[TaskDirective]:
    """Return tasks of a locked workflow that have failed for good, the first of them."""
    await write_changed(revisions.tx, revisions.changed)
    rows = await revisions.tx.fetch(_FAILED, workflow_id=workflow_id, most=most)
    return [directive_from(row) for row in rows]


async def occurrences(
    tx: Transaction, workflow_id: WorkflowId, transitions: Collection[int]
) -> dict[int, Occurrence]:
    """Return what has started of these transitions."""
    if not transitions:
        return {}
    rows = await tx.fetch(_OCCURRENCES, workflow_id=workflow_id, transitions=list(transitions))
    return {
        row["transition"]: Occurrence(
            row["transition"], row["try"], row["is_over"], row["taskforce_uuid"]
        )
        for row in rows
    }


async def save_occurrences(
    tx: Transaction, workflow_id: WorkflowId, changed: Sequence[Occurrence]
) -> None:
    """Write occurrences, new or changed, each once."""
    if changed:
        await tx.execute(
            _SAVE_OCCURRENCES,
            workflow_id=workflow_id,
            transition=[o.transition for o in changed],
            **{"try": [o.number_of_try for o in changed]},
            is_over=[o.is_over for o in changed],
            taskforce_uuid=[o.taskforce_uuid for o in changed],
            due_at=[o.due_at for o in changed],
        )


async def note_signal(revisions: RevisionSet, workflow_id: WorkflowId, transition: int) -> None:
    """Keep a signal for a task, and have the engine look whether it is waited for."""
    await revisions.tx.execute(_NOTE_SIGNAL, workflow_id=workflow_id, transition=transition)
    revisions.tell_engine(workflow_id, "signal", transition)


async def signalled(
    tx: Transaction, workflow_id: WorkflowId, transitions: Collection[int]
) -> set[int]:
    """Return those of the transitions whose signal has come."""
    if not transitions:
        return set()
    rows = await tx.fetch(_SIGNALLED, workflow_id=workflow_id, transitions=list(transitions))
    return {row["transition"] for row in rows}


async def stop(revisions: RevisionSet, revision: Revision) -> None:
    """Stop the net of a workflow that has ended: nothing of it fires any more."""
    workflow_id = revision.workflow.workflow_id
    before = await locked_directives(revisions, workflow_id)
    running = [d for d in before if d.state in (TaskState.RUNNING, TaskState.RETRYING)]
    save_directives(
        revisions,
        {d.task_id: d for d in running},
        [replace(d, state=TaskState.STOPPED) for d in running],
    )
    revision.workflow = replace(revision.workflow, n_active=0)
    await revisions.tx.execute(_FORGET, workflow_id=workflow_id)
