"""Giving queues back: private ones at once, public ones when nobody has anything left to read.

Of a private queue the dead letters stay for the retention, to be read; its grave says whose they
are. Nothing else of it is left.

A released public queue is closed and kept until it is empty and has no dead letters, or until the
retention has passed. The tombstone is written first, so that a release which was killed half-way
grants nothing anew and is completed by its repeat.
"""

from __future__ import annotations

from datetime import timedelta

from ewms_mqs.brokers import Broker
from ewms_mqs.config import MqsSettings
from ewms_mqs.draining import Draining
from ewms_mqs.model import Queue, QueueState, WorkflowId
from ewms_mqs.register import Register, queue_from
from ewms_mqs.signals import Signals
from ewms_postgres.database import Database, Transaction
from ewms_postgres.statements import statement

__all__ = ["Retention"]

_AT_ONCE = 500
# Who consumes a queue, and may just be connecting anew, shall still be told that there is no more.
_LAST_WORDS = timedelta(seconds=10)

_BURY = statement(
    """
    INSERT INTO mqs.workflows (workflow_id, release_time) VALUES (:workflow, now())
    ON CONFLICT (workflow_id) DO UPDATE SET release_time = now()
    WHERE workflows.release_time IS NULL
    """
)
_FORGET_REVOCATIONS = statement("DELETE FROM mqs.revocations WHERE workflow_id = :workflow")
_KEEP = statement(
    """
    UPDATE mqs.queues SET keep_until = now() + :retention::interval,
      change_time = clock_timestamp()
    WHERE workflow_id = :workflow AND is_public AND keep_until IS NULL
    """
)
# Private queues of released workflows, and public ones that have held nothing for a while.
_SPENT_OF_WORKFLOW = statement(
    """
    SELECT queue_no FROM mqs.queues q
    WHERE workflow_id = :workflow AND (NOT is_public OR keep_until <= now() OR (
      drain_time < now() - :last_words::interval
      AND NOT EXISTS (SELECT FROM mqs.dead_letters l WHERE l.queue_no = q.queue_no)))
    ORDER BY queue_no
    """
)
_SPENT = statement(
    """
    SELECT queue_no FROM mqs.queues q
    WHERE keep_until IS NOT NULL AND (keep_until <= now() OR (
      drain_time < now() - :last_words::interval
      AND NOT EXISTS (SELECT FROM mqs.dead_letters l WHERE l.queue_no = q.queue_no)))
    ORDER BY queue_no LIMIT :limit
    """
)
_LOCK = statement("SELECT pg_advisory_xact_lock(5067603, q) FROM unnest(:queues::int[]) q")
_DELETE = statement(
    """
    WITH gone AS (
      DELETE FROM mqs.queues WHERE queue_no = ANY (:queues)
      RETURNING queue_no, mqid, workflow_id, alias, is_public
    ), room AS (
      UPDATE mqs.room SET n_queues = n_queues - (SELECT count(*) FROM gone)
    )
    SELECT * FROM gone
    """
)
_BURY_DEAD = statement(
    """
    INSERT INTO mqs.graves (queue_no, mqid, workflow_id, alias, n_dead, keep_until)
    SELECT q.queue_no, q.mqid, q.workflow_id, q.alias, d.n, now() + :retention::interval
    FROM mqs.queues q
      CROSS JOIN LATERAL (
        SELECT count(*) AS n FROM mqs.dead_letters l WHERE l.queue_no = q.queue_no) d
    WHERE q.queue_no = ANY (:queues) AND NOT q.is_public AND d.n > 0
    """
)
# Counts also those that are garbage already, so that the caller knows when there are no more.
_CLEAR_GRAVES = statement(
    """
    WITH cleared AS (
      DELETE FROM mqs.graves WHERE queue_no = ANY (ARRAY(
        SELECT queue_no FROM mqs.graves WHERE keep_until <= now()
        ORDER BY keep_until LIMIT :limit FOR UPDATE SKIP LOCKED))
      RETURNING queue_no
    )
    INSERT INTO mqs.garbage (queue_no) SELECT queue_no FROM cleared ORDER BY queue_no
    ON CONFLICT (queue_no) DO UPDATE SET queue_no = excluded.queue_no
    """
)
_FORGET_TOMBSTONES = statement(
    """
    DELETE FROM mqs.workflows WHERE ctid = ANY (ARRAY(
      SELECT ctid FROM mqs.workflows w
      WHERE release_time < now() - :life::interval
        AND NOT EXISTS (SELECT FROM mqs.queues q WHERE q.workflow_id = w.workflow_id)
      LIMIT 1000))
    """
)


class Retention:
    """Releases queues, and removes those that were kept once they are spent."""

    def __init__(
        self,
        database: Database,
        register: Register,
        broker: Broker,
        draining: Draining,
        signals: Signals,
        settings: MqsSettings,
    ) -> None:
        self._database = database
        self._register = register
        self._broker = broker
        self._draining = draining
        self._signals = signals
        self._retention = settings.queue_retention
        self._tombstone_life = settings.tombstone_life

    async def release_queues(self, workflow_id: WorkflowId) -> list[QueueState]:
        """Release a workflow's queues, granted or not; return those that are still kept."""
        await self._database.transact(lambda tx: self._bury(tx, workflow_id))
        states = await self._register.of_workflow(workflow_id)
        public = [state.queue.number for state in states if state.queue.is_public]
        if public:
            await self._draining.close(self._broker, public)
        spent = await self._database.fetch(
            _SPENT_OF_WORKFLOW, workflow=workflow_id, last_words=_LAST_WORDS
        )
        await self._delete([row["queue_no"] for row in spent])
        return await self._register.of_workflow(workflow_id)

    async def _bury(self, tx: Transaction, workflow_id: WorkflowId) -> None:
        await tx.execute(_BURY, workflow=workflow_id)
        await tx.execute(_KEEP, workflow=workflow_id, retention=self._retention)
        await tx.execute(_FORGET_REVOCATIONS, workflow=workflow_id)

    async def remove_spent(self) -> None:
        """Remove kept queues and dead letters that nobody can read, or whose time has passed."""
        while True:
            rows = await self._database.fetch(_SPENT, last_words=_LAST_WORDS, limit=_AT_ONCE)
            await self._delete([row["queue_no"] for row in rows])
            if len(rows) < _AT_ONCE:
                break
        while await self._database.execute(_CLEAR_GRAVES, limit=_AT_ONCE) == _AT_ONCE:
            pass
        await self._database.execute(_FORGET_TOMBSTONES, life=self._tombstone_life)

    async def _delete(self, numbers: list[int]) -> None:
        for start in range(0, len(numbers), _AT_ONCE):
            some = numbers[start : start + _AT_ONCE]

            async def work(tx: Transaction, some: list[int] = some) -> list[Queue]:
                # Nobody publishes into a queue while it goes.
                await tx.execute(_LOCK, queues=some)
                await tx.execute(_BURY_DEAD, queues=some, retention=self._retention)
                queues = [queue_from(row) for row in await tx.fetch(_DELETE, queues=some)]
                await self._broker.delete_queues(tx, queues)
                return queues

            for queue in await self._database.transact(work):
                self._register.forget(queue)
                self._signals.changed(queue.number)
