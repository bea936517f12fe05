"""Agents of schedds: their leases, and the assignments that are pushed to them.

A lease is reckoned with the database's clock alone. An assignment is claimed for a session before
it is pushed, and is pushed again only on another session, or long after.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

import asyncpg

from ewms_postgres.database import Executor
from ewms_postgres.statements import statement
from wms_grpc.domain.errors import NotAllowedNow
from wms_grpc.domain.ids import TaskforceId
from wms_grpc.domain.model import TaskDirective, Taskforce
from wms_grpc.storage.records import directive_from, taskforce_from

__all__ = [
    "MOST_UNANSWERED",
    "HoldPush",
    "Push",
    "Standing",
    "StrayPush",
    "claim_holds",
    "claim_pushes",
    "claim_strays",
    "open_session",
    "renew_lease",
    "standing",
    "unclaim",
]

MOST_UNANSWERED: Final = 64
# What a stream asks at each wake-up is asked so that the planner does not look at the values: it
# would make a plan for each call, which takes longer than to run it.
_PUSH_AGAIN_AFTER: Final = "interval '10 minutes'"
_SCHEDD: Final = "(SELECT :schedd::text)"
_SESSION: Final = "(SELECT :session::bigint)"

_OPEN_SESSION = statement("""
    INSERT INTO wms.agent AS a (schedd, agent_id, session, lease_until)
    VALUES (:schedd, :agent_id, 1, now() + :ttl::interval)
    ON CONFLICT (schedd) DO UPDATE
      SET agent_id = excluded.agent_id, session = a.session + 1, lease_until = excluded.lease_until
      WHERE a.agent_id = excluded.agent_id OR a.lease_until < now()
    RETURNING session
""")

_HOLDER = statement("SELECT agent_id, lease_until FROM wms.agent WHERE schedd = :schedd")

_RENEW = statement("""
    UPDATE wms.agent SET lease_until = now() + :ttl::interval
    WHERE schedd = :schedd AND session = :session
""")

_STANDING = statement("""
    SELECT extract(epoch FROM min(assignment_due) - now()) AS next_due,
      EXISTS (SELECT FROM wms.agent a WHERE a.schedd = :schedd AND a.session = :session)
        AS is_current
    FROM wms.taskforce
    WHERE schedd = :schedd AND assignment IS NOT NULL AND assignment_due > now()
""")

_CLAIM_PUSHES = statement(f"""
    WITH due AS (
      SELECT t.taskforce_uuid FROM wms.taskforce t
      WHERE t.schedd = {_SCHEDD} AND t.assignment IS NOT NULL AND t.assignment_due <= now()
        AND EXISTS (SELECT FROM wms.agent a
          WHERE a.schedd = {_SCHEDD} AND a.session = {_SESSION} AND a.lease_until > now())
        AND (t.assigned_session IS DISTINCT FROM {_SESSION}
             OR t.assigned_time < now() - {_PUSH_AGAIN_AFTER})
        AND (t.assignment = 'stop' OR EXISTS (
          SELECT FROM wms.workflow w WHERE w.workflow_id = t.workflow_id AND w.state = 'ACTIVE'))
      ORDER BY t.assignment DESC, t.priority DESC, t.create_time, t.taskforce_uuid
      LIMIT greatest(0, :most_unanswered - (
        SELECT count(*) FROM wms.taskforce u
        WHERE u.schedd = {_SCHEDD} AND u.assignment IS NOT NULL
          AND u.assigned_session = {_SESSION}))
      FOR UPDATE OF t SKIP LOCKED
    )
    UPDATE wms.taskforce t
    SET attempt = t.attempt + 1, assigned_session = {_SESSION}, assigned_time = now()
    FROM due JOIN wms.taskforce p USING (taskforce_uuid)
      JOIN wms.task_directive d ON d.task_id = p.task_id
      JOIN wms.workflow w ON w.workflow_id = p.workflow_id
    WHERE t.taskforce_uuid = due.taskforce_uuid
    RETURNING t.*, d AS directive, w.owner
""")

_UNCLAIM = statement("""
    WITH mine AS (
      SELECT taskforce_uuid FROM wms.taskforce
      WHERE taskforce_uuid = ANY(:uuids::text[]) AND assigned_session = :session
      ORDER BY taskforce_uuid
      FOR UPDATE
    )
    UPDATE wms.taskforce t
    SET assigned_session = NULL, assigned_time = NULL,
        assignment_due = now() + :retry_after::interval
    FROM mine WHERE t.taskforce_uuid = mine.taskforce_uuid
""")

_CLAIM_STRAYS = statement(f"""
    UPDATE wms.stray_cluster SET assigned_session = :session, assigned_time = now()
    WHERE schedd = :schedd AND due <= now()
      AND EXISTS (SELECT FROM wms.agent a WHERE a.schedd = :schedd AND a.session = :session)
      AND (assigned_session IS DISTINCT FROM :session
           OR assigned_time < now() - {_PUSH_AGAIN_AFTER})
    RETURNING taskforce_uuid, cluster_id, attempt
""")

_CLAIM_HOLDS = statement("""
    WITH due AS (
      SELECT taskforce_uuid FROM wms.taskforce
      WHERE schedd = :schedd AND (hold_wanted OR hold_pushed)
        AND phase = 'CONDOR_SUBMIT' AND cluster_id IS NOT NULL
        AND EXISTS (SELECT FROM wms.agent a WHERE a.schedd = :schedd AND a.session = :session)
        AND (hold_wanted <> hold_pushed OR hold_session IS DISTINCT FROM :session)
      ORDER BY taskforce_uuid
      FOR UPDATE
    )
    UPDATE wms.taskforce t SET hold_pushed = hold_wanted, hold_session = :session
    FROM due WHERE t.taskforce_uuid = due.taskforce_uuid
    RETURNING t.taskforce_uuid, t.attempt, t.cluster_id, t.hold_wanted
""")


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a session is still its schedd's, and in how many seconds the next assignment that
    was put off is due.
    """

    is_current: bool
    next_due: float | None


@dataclass(frozen=True, slots=True)
class Push:
    """An assignment that this session is to be told of, with all that there is to tell."""

    assignment: Literal["start", "stop"]
    attempt: int
    taskforce: Taskforce
    directive: TaskDirective
    owner: str


@dataclass(frozen=True, slots=True)
class StrayPush:
    """A cluster that is nobody's, to be stopped."""

    taskforce_uuid: TaskforceId
    cluster_id: int
    attempt: int


@dataclass(frozen=True, slots=True)
class HoldPush:
    """A cluster whose jobs are to be held, or released."""

    taskforce_uuid: TaskforceId
    attempt: int
    cluster_id: int
    is_held: bool


async def open_session(executor: Executor, schedd: str, agent_id: str, ttl: timedelta) -> int:
    """Give an agent the lease of a schedd, and return the number of its session.

    A newer stream of the same agent takes over at once. Raises NotAllowedNow while another
    agent's lease holds.
    """
    session = await executor.fetchval(_OPEN_SESSION, schedd=schedd, agent_id=agent_id, ttl=ttl)
    if session is not None:
        return int(session)
    holder = await executor.fetchrow(_HOLDER, schedd=schedd)
    until: datetime | None = holder["lease_until"] if holder else None
    raise NotAllowedNow(
        "SCHEDD_HAS_AGENT",
        schedd,
        f"schedd {schedd} has another agent; its lease ends at {until:%Y-%m-%d %H:%M:%S %Z}"
        if until
        else f"schedd {schedd} has another agent",
    )


async def renew_lease(executor: Executor, schedd: str, session: int, ttl: timedelta) -> bool:
    """Renew a session's lease; False if a newer session has taken over."""
    return bool(await executor.execute(_RENEW, schedd=schedd, session=session, ttl=ttl))


async def standing(executor: Executor, schedd: str, session: int) -> Standing:
    """Return how a session stands."""
    row = await executor.fetchrow(_STANDING, schedd=schedd, session=session)
    assert row is not None
    due = row["next_due"]
    return Standing(row["is_current"], None if due is None else float(due))


async def claim_pushes(executor: Executor, schedd: str, session: int) -> list[Push]:
    """Claim what the session is to be told: stops first, then starts in the order of launching.

    At most so many that no more than MOST_UNANSWERED are unanswered. Nothing of a paused workflow
    is started. Each claim counts an attempt. A session that a newer one has replaced, or whose
    lease has run out, claims nothing.
    """
    rows = await executor.fetch(
        _CLAIM_PUSHES,
        schedd=schedd,
        session=session,
        most_unanswered=MOST_UNANSWERED,
    )
    rows.sort(key=_push_order)
    return [
        Push(
            row["assignment"],
            row["attempt"],
            taskforce_from(row),
            directive_from(row["directive"]),
            row["owner"],
        )
        for row in rows
    ]


async def unclaim(
    executor: Executor, session: int, uuids: Sequence[TaskforceId], retry_after: timedelta
) -> None:
    """Have assignments pushed again later that could not be pushed now."""
    await executor.execute(_UNCLAIM, session=session, uuids=list(uuids), retry_after=retry_after)


async def claim_strays(executor: Executor, schedd: str, session: int) -> list[StrayPush]:
    """Claim clusters that are nobody's."""
    rows = await executor.fetch(_CLAIM_STRAYS, schedd=schedd, session=session)
    return [StrayPush(*row) for row in rows]


async def claim_holds(executor: Executor, schedd: str, session: int) -> list[HoldPush]:
    """Claim what the session is to hold or release; all of it on a new session."""
    rows = await executor.fetch(_CLAIM_HOLDS, schedd=schedd, session=session)
    return [HoldPush(*row) for row in rows]


def _push_order(row: asyncpg.Record) -> tuple[bool, int, datetime, str]:
    return (
        row["assignment"] == "start",
        -row["priority"],
        row["create_time"],
        row["taskforce_uuid"],
    )
