"""From the outbox to positions, and from old positions to nothing.

Neither a sequence nor a clock nor a transaction id orders commits across workflows, so writers
leave (workflow, revision) in an outbox, and what has become visible there is given the next
positions: gap-free, each once, and a workflow's revisions in their order, since each one's outbox
id was drawn under the workflow's lock. Moving and compacting lock the one row of `feed_state`, so
that any number of processes may try.
"""

from __future__ import annotations

from datetime import timedelta

from ewms_postgres.database import Database
from ewms_postgres.statements import statement

__all__ = ["compact", "move_outbox"]

_LOCK = statement("SELECT 1 FROM wms.feed_state FOR UPDATE")

# A statement of its own behind the lock: its snapshot then shows all that an earlier mover did.
_MOVE = statement("""
    WITH moved AS (
      DELETE FROM wms.outbox
      WHERE id IN (SELECT id FROM wms.outbox ORDER BY id LIMIT :limit)
      RETURNING id, workflow_id, revision
    ), numbered AS (
      SELECT s.last_position + row_number() OVER (ORDER BY m.id) AS position,
        m.workflow_id, m.revision
      FROM moved m CROSS JOIN wms.feed_state s
    ), positions AS (
      INSERT INTO wms.feed_position (position, workflow_id, revision)
      SELECT position, workflow_id, revision FROM numbered
    )
    UPDATE wms.feed_state SET last_position = (SELECT max(position) FROM numbered)
    WHERE EXISTS (SELECT FROM numbered)
    RETURNING last_position, (SELECT count(*) FROM numbered) AS moved
""")

_IS_EMPTY = statement("SELECT NOT EXISTS (SELECT FROM wms.outbox)")

# In the order of positions, so that what is left of the feed, and of each workflow in it, is always
# its whole later part: clocks of writers may differ, and times alone would leave holes.
_COMPACT = statement("""
    WITH oldest AS (
      SELECT p.position, p.workflow_id, p.revision, f.time
      FROM (
        SELECT * FROM wms.feed_position ORDER BY position LIMIT :limit
      ) p
      LEFT JOIN wms.feed f
        ON f.workflow_id = p.workflow_id AND f.revision = p.revision AND f.part = 0
    ), kept AS (
      SELECT min(position) AS first FROM oldest WHERE time >= now() - :retention::interval
    ), doomed AS (
      SELECT o.* FROM oldest o CROSS JOIN kept k WHERE k.first IS NULL OR o.position < k.first
    ), parts AS (
      DELETE FROM wms.feed f USING doomed d
      WHERE f.workflow_id = d.workflow_id AND f.revision = d.revision
    ), positions AS (
      DELETE FROM wms.feed_position p USING doomed d WHERE p.position = d.position
    )
    UPDATE wms.feed_state SET compacted_position = (SELECT max(position) FROM doomed)
    WHERE EXISTS (SELECT FROM doomed)
    RETURNING (SELECT count(*) FROM doomed)
""")


async def move_outbox(db: Database, *, limit: int = 2000) -> tuple[int, int]:
    """Give positions to what is visible in the outbox, in one transaction.

    Returns how many entries were moved, at most `limit`, and the last position (0 if none was).
    """
    if await db.fetchval(_IS_EMPTY):
        return 0, 0
    async with db.transaction() as tx:
        await tx.execute(_LOCK)
        row = await tx.fetchrow(_MOVE, limit=limit)
    return (row["moved"], row["last_position"]) if row else (0, 0)


async def compact(db: Database, retention: timedelta, *, limit: int = 1000) -> int:
    """Forget at most `limit` of the oldest revisions that were made longer than `retention` ago.

    Returns how many were forgotten; a watch that resumes before them is refused from now on.
    """
    async with db.transaction() as tx:
        await tx.execute(_LOCK)
        forgotten: int | None = await tx.fetchval(_COMPACT, limit=limit, retention=retention)
    return forgotten or 0
