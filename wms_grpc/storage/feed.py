"""Reading the change feed from its table, by workflow and by position.

Reads are bounded in rows and bytes. Nothing here writes, but for the feed's epoch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import asyncpg

from ewms_postgres.database import Database
from ewms_postgres.statements import statement
from wms_grpc.domain.errors import NotFound, PositionLost
from wms_grpc.domain.ids import WorkflowId
from wms_grpc.storage.feed_parts import (
    REVISION,
    REVISION_OF_MANY,
    Position,
    PositionPart,
    RevisionPart,
    framed,
    place_of,
)

__all__ = [
    "FeedHead",
    "ResumedWorkflow",
    "feed_head",
    "read_positions",
    "read_revisions",
    "renew_epoch",
    "resume_workflow",
]

# What one read of the table brings at most; the first part always comes, however large it is.
READ_BYTES = 4 << 20
READ_ROWS = 256


@dataclass(frozen=True, slots=True)
class ResumedWorkflow:
    """What a watch that goes on must know of its workflow."""

    epoch: str
    revision: int
    is_settled: bool


@dataclass(frozen=True, slots=True)
class FeedHead:
    """The feed across all workflows: its epoch, and from where to where positions are kept."""

    epoch: str
    last_position: int
    compacted_position: int


_READ_REVISIONS = statement("""
    SELECT workflow_id, revision, part, is_last, body, settles, is_same_feed
    FROM (
      SELECT f.*, w.place,
        coalesce((f.after ->> 'is_settled')::bool, false) AS settles,
        (SELECT epoch FROM wms.feed_state) = :epoch AS is_same_feed,
        sum(octet_length(f.body)) OVER (
          ORDER BY w.place, f.revision, f.part ROWS UNBOUNDED PRECEDING
        ) - octet_length(f.body) AS bytes_before
      FROM unnest(:workflow_ids::text[], :revisions::bigint[], :parts::int[])
        WITH ORDINALITY AS w (id, revision, part, place)
      CROSS JOIN LATERAL (
        SELECT * FROM wms.feed f
        WHERE f.workflow_id = w.id AND (f.revision, f.part) > (w.revision, w.part)
        ORDER BY f.revision, f.part
        LIMIT :max_rows
      ) f
    ) AS found
    WHERE bytes_before < :max_bytes
    ORDER BY place, revision, part
""")

_READ_POSITIONS = statement("""
    SELECT position, workflow_id, revision, part, is_last, body, before, after, is_same_feed
    FROM (
      SELECT p.position, f.*,
        (SELECT epoch FROM wms.feed_state) = :epoch AS is_same_feed,
        sum(octet_length(f.body)) OVER (
          ORDER BY p.position, f.part ROWS UNBOUNDED PRECEDING
        ) - octet_length(f.body) AS bytes_before
      FROM (
        SELECT * FROM wms.feed_position
        WHERE position >= :position ORDER BY position LIMIT :max_rows
      ) p
      JOIN wms.feed f ON f.workflow_id = p.workflow_id AND f.revision = p.revision
      WHERE (p.position, f.part) > (:position, :part)
    ) AS found
    WHERE bytes_before < :max_bytes
    ORDER BY position, part
""")

_RESUME = statement("""
    SELECT s.epoch, w.revision, w.settled_time IS NOT NULL AS is_settled,
      EXISTS (
        SELECT 1 FROM wms.feed f
        WHERE f.workflow_id = w.workflow_id AND f.revision = :after + 1
      ) AS is_kept
    FROM wms.feed_state s LEFT JOIN wms.workflow w ON w.workflow_id = :workflow_id
""")

_HEAD = statement("SELECT epoch, last_position, compacted_position FROM wms.feed_state")


_RENEW = statement("""
    UPDATE wms.feed_state SET epoch = replace(gen_random_uuid()::text, '-', '') RETURNING epoch
""")


async def read_revisions(
    db: Database,
    epoch: str,
    after: Iterable[tuple[WorkflowId, Position]],
    *,
    max_bytes: int = READ_BYTES,
) -> tuple[dict[WorkflowId, list[RevisionPart]], bool]:
    """Return what follows each place, and whether there may be more.

    Raises PositionLost when the feed has another epoch by now.
    """
    places = list(after)
    rows = await db.fetch(
        _READ_REVISIONS,
        epoch=epoch,
        workflow_ids=[workflow_id for workflow_id, _ in places],
        revisions=[position[0] for _, position in places],
        parts=[position[1] for _, position in places],
        max_rows=READ_ROWS,
        max_bytes=max_bytes,
    )
    _check_epoch(rows)
    found: dict[WorkflowId, list[RevisionPart]] = {}
    for row in rows:
        part = RevisionPart(
            *place_of(row["revision"], row["part"], row["is_last"]),
            framed(REVISION, row["body"]),
            row["settles"],
        )
        found.setdefault(row["workflow_id"], []).append(part)
    is_cut = any(len(parts) >= READ_ROWS for parts in found.values())
    return found, is_cut or _bytes_of(rows) >= max_bytes


async def read_positions(
    db: Database, epoch: str, after: Position, *, max_bytes: int = READ_BYTES
) -> tuple[list[PositionPart], bool]:
    """Return what follows the place across all workflows, and whether there may be more.

    Raises PositionLost when the feed has another epoch by now.
    """
    rows = await db.fetch(
        _READ_POSITIONS,
        epoch=epoch,
        position=after[0],
        part=after[1],
        max_rows=READ_ROWS,
        max_bytes=max_bytes,
    )
    _check_epoch(rows)
    parts = [
        PositionPart(
            *place_of(row["position"], row["part"], row["is_last"]),
            message=framed(REVISION_OF_MANY, row["body"]),
            workflow_id=row["workflow_id"],
            revision=row["revision"],
            is_last=row["is_last"],
            before=row["before"],
            after=row["after"],
        )
        for row in rows
    ]
    # The first position may be one that is read already, so that one row less is full, too.
    return parts, len(rows) >= READ_ROWS - 1 or _bytes_of(rows) >= max_bytes


async def resume_workflow(
    db: Database, workflow_id: WorkflowId, after: int, epoch: str
) -> ResumedWorkflow:
    """Check that a watch can go on after that revision.

    Raises NotFound for an unknown workflow, PositionLost for a revision that is not kept or not
    made yet, and for another epoch than the feed's (empty: not checked).
    """
    row = await db.fetchrow(_RESUME, workflow_id=workflow_id, after=after)
    if row is None or row["revision"] is None:
        raise NotFound("workflow", workflow_id)
    if epoch and epoch != row["epoch"]:
        raise PositionLost("the feed was renewed since that revision; begin with a snapshot")
    if after > row["revision"]:
        raise PositionLost(f"revision {after} lies in the future of {row['revision']}")
    if after < row["revision"] and not row["is_kept"]:
        raise PositionLost(f"what follows revision {after} is no longer kept")
    return ResumedWorkflow(row["epoch"], row["revision"], row["is_settled"])


async def feed_head(db: Database) -> FeedHead:
    """Return the state of the feed across all workflows."""
    row = await db.fetchrow(_HEAD)
    if row is None:
        raise PositionLost("there is no feed")
    return FeedHead(**row)


async def renew_epoch(db: Database) -> str:
    """Begin a new epoch, after a restore: what clients have seen since is no longer true.

    Returns the new epoch. Every resume token and every `feed_epoch` of before is refused from now
    on, and running watches end.
    """
    epoch: str = await db.fetchval(_RENEW)
    return epoch


def _check_epoch(rows: Sequence[asyncpg.Record]) -> None:
    if rows and not rows[0]["is_same_feed"]:
        raise PositionLost("the feed was renewed; begin with a snapshot")


def _bytes_of(rows: Sequence[asyncpg.Record]) -> int:
    return sum(len(row["body"]) for row in rows)
