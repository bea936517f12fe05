"""What waits for a reconciler: found, claimed and put off.

Each statement is served by a partial index, so that a loop's cost does not grow with what has
ended. Work that calls a peer is claimed by a lease on its row, never by an open transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

import asyncpg

from ewms_postgres.database import Executor
from ewms_postgres.statements import statement
from wms_grpc.domain.ids import Mqid, TaskId, WorkflowId
from wms_grpc.domain.model import Cause
from wms_grpc.domain.translation import Plan
from wms_grpc.storage.store import Store
from wms_grpc.storage.submissions import CLAIM

__all__ = [
    "Activation",
    "NextDue",
    "claim_activations",
    "claim_releases",
    "find_closings",
    "next_due",
    "postpone_activation",
    "released",
    "tasks_to_stop",
    "unclaim_releases",
]

# Hundreds of activations may wait, and a workflow may have ten thousand tasks.
_MOST_REMEMBERED: Final = 8

_ACTIVATION_COLUMNS = """
    w.workflow_id, w.priority,
    (SELECT array_agg(q.mqid ORDER BY q.number) FROM wms.queue q
     WHERE q.workflow_id = w.workflow_id) AS mqids,
    (SELECT array_agg(q.alias ORDER BY q.number) FROM wms.queue q
     WHERE q.workflow_id = w.workflow_id) AS aliases,
    (SELECT array_agg(q.is_public ORDER BY q.number) FROM wms.queue q
     WHERE q.workflow_id = w.workflow_id) AS publics
"""

_CLAIM_ACTIVATIONS = statement(f"""
    WITH claimed AS (
      SELECT workflow_id FROM wms.workflow
      WHERE activation_due <= now() AND (claim_until IS NULL OR claim_until < now())
      ORDER BY priority DESC, create_time
      LIMIT :most
      FOR UPDATE SKIP LOCKED
    )
    UPDATE wms.workflow w SET claim_until = now() + :claim::interval
    FROM claimed c WHERE w.workflow_id = c.workflow_id
    RETURNING {_ACTIVATION_COLUMNS}, w.create_time
""")

_CLAIM_RELEASES = statement("""
    WITH claimed AS (
      SELECT workflow_id FROM wms.workflow
      WHERE release_due <= now()
      ORDER BY release_due
      LIMIT :most
      FOR UPDATE SKIP LOCKED
    )
    UPDATE wms.workflow w SET release_due = now() + :claim::interval
    FROM claimed c WHERE w.workflow_id = c.workflow_id
    RETURNING w.workflow_id
""")

_UNCLAIM_RELEASES = statement("""
    WITH claimed AS (
      SELECT workflow_id FROM wms.workflow
      WHERE workflow_id = ANY(:workflow_ids::text[]) AND release_due IS NOT NULL
      ORDER BY workflow_id
      FOR UPDATE
    )
    UPDATE wms.workflow w SET release_due = now()
    FROM claimed c WHERE w.workflow_id = c.workflow_id
""")

_CLOSINGS = statement("""
    SELECT q.workflow_id, array_agg(q.mqid) AS mqids
    FROM wms.queue q JOIN wms.workflow w USING (workflow_id)
    WHERE q.is_close_due AND NOT q.is_closed
      AND w.state NOT IN ('FINISHED', 'ABORTED', 'SUCCEEDED', 'FAILED')
    GROUP BY q.workflow_id
    LIMIT :most
""")

_TASKS_TO_STOP = statement("""
    SELECT task_id, workflow_id FROM wms.task_directive
    WHERE stop_due <= now() ORDER BY stop_due LIMIT :most
""")

_NEXT_DUE = statement("""
    SELECT
      (SELECT min(GREATEST(activation_due, claim_until)) FROM wms.workflow
       WHERE activation_due IS NOT NULL) - now() AS activation,
      (SELECT min(release_due) FROM wms.workflow WHERE release_due IS NOT NULL) - now() AS release,
      (SELECT min(stop_due) FROM wms.task_directive WHERE stop_due IS NOT NULL) - now() AS stop
""")


@dataclass(frozen=True, slots=True)
class Activation:
    """A workflow whose queues are to be asked for: (id, alias, is public) of each.

    `plan` is the whole workflow, if this process has just been given it and it is small.
    """

    workflow_id: WorkflowId
    priority: int
    queues: tuple[tuple[Mqid, str, bool], ...]
    plan: Plan | None = None

    @classmethod
    def of(cls, plan: Plan) -> Activation:
        """Return what is to be asked for a workflow that was just submitted."""
        return cls(
            plan.workflow.workflow_id,
            plan.workflow.priority,
            tuple((queue.mqid, queue.alias, queue.is_public) for queue in plan.queues),
            plan if len(plan.taskforces) <= _MOST_REMEMBERED else None,
        )


async def claim_activations(executor: Executor, most: int) -> list[Activation]:
    """Claim workflows whose queues are to be asked for, by priority, then age."""
    rows = await executor.fetch(_CLAIM_ACTIVATIONS, most=most, claim=CLAIM)
    rows.sort(key=lambda row: (-row["priority"], row["create_time"]))
    return [_activation(row) for row in rows]


async def postpone_activation(
    store: Store, workflow_id: WorkflowId, reason: str, retry_after: timedelta
) -> None:
    """Have a workflow's queues asked for again later, and say why and when."""
    async with store.revising([workflow_id]) as revisions:
        revision = revisions[workflow_id]
        if revision.workflow.activation_due is None:
            return
        due = revision.now + retry_after
        revision.workflow = replace(
            revision.workflow,
            pending_reason=reason,
            retry_time=due,
            activation_due=due,
            claim_until=None,
        )


async def claim_releases(executor: Executor, most: int) -> list[WorkflowId]:
    """Claim workflows whose queues are to be released; due again if that is not confirmed."""
    return [
        row["workflow_id"] for row in await executor.fetch(_CLAIM_RELEASES, most=most, claim=CLAIM)
    ]


async def unclaim_releases(executor: Executor, workflow_ids: Sequence[WorkflowId]) -> None:
    """Have those of these workflows whose queues are not released yet due again at once."""
    await executor.execute(_UNCLAIM_RELEASES, workflow_ids=list(workflow_ids))


async def released(store: Store, workflow_id: WorkflowId) -> None:
    """Note that a workflow's queues are released. Idempotent."""
    async with store.revising([workflow_id]) as revisions:
        revision = revisions.get(workflow_id)
        if revision and revision.workflow.release_due:
            revision.workflow = replace(revision.workflow, release_due=None)
            revision.record("QUEUE", workflow_id, "released", Cause("retirement"))


async def find_closings(executor: Executor, most: int) -> dict[WorkflowId, list[Mqid]]:
    """Return the queues of living workflows that the MQS is to close.

    Closing is idempotent, so nothing is claimed.
    """
    rows = await executor.fetch(_CLOSINGS, most=most)
    return {row["workflow_id"]: row["mqids"] for row in rows}


async def tasks_to_stop(executor: Executor, most: int) -> dict[TaskId, WorkflowId]:
    """Return the tasks that are done and whose grace has passed."""
    rows = await executor.fetch(_TASKS_TO_STOP, most=most)
    return {row["task_id"]: row["workflow_id"] for row in rows}


@dataclass(frozen=True, slots=True)
class NextDue:
    """How long until a timer of each kind is due; None where there is none."""

    activation: timedelta | None
    release: timedelta | None
    stop: timedelta | None


async def next_due(executor: Executor) -> NextDue:
    """Return how long until the next retry, release and stop."""
    row = await executor.fetchrow(_NEXT_DUE)
    assert row is not None
    return NextDue(row["activation"], row["release"], row["stop"])


def _activation(row: asyncpg.Record) -> Activation:
    return Activation(
        row["workflow_id"],
        row["priority"],
        tuple(zip(row["mqids"], row["aliases"], row["publics"], strict=True)),
    )
