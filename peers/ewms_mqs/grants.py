"""Granting queues to workflows, all of them or none, within limits that hold for all processes.

A workflow is granted once: asking again gives the same queues, asking after the release is
refused by the tombstone, which a release leaves even where nothing was granted. Grants pass one
after the other through one row that counts the queues, so that two processes never both see the
same room. It must never leave a queue behind that no workflow knows of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ewms_mqs.brokers import Broker
from ewms_mqs.config import MqsSettings
from ewms_mqs.errors import BrokerNotReady, QueuesReleased, QueueTaken, TooManyQueues
from ewms_mqs.model import QueueSpec, QueueState, WorkflowId
from ewms_mqs.register import Register, queue_from
from ewms_mqs.signals import Signals
from ewms_postgres.database import Database, Transaction
from ewms_postgres.errors import UniqueViolation
from ewms_postgres.statements import statement

__all__ = ["Grants", "NoRoom"]

# Waits for another request of the same workflow, and grants nothing if that one was first.
_GRANT = statement(
    """
    WITH entered AS (
      INSERT INTO mqs.workflows (workflow_id, grant_time) VALUES (:workflow, now())
      ON CONFLICT DO NOTHING RETURNING workflow_id
    ), room AS (
      UPDATE mqs.room SET n_queues = n_queues + :n
      WHERE n_queues + :n::bigint <= :limit AND EXISTS (SELECT FROM entered)
      RETURNING n_queues
    ), granted AS (
      INSERT INTO mqs.queues (mqid, workflow_id, ordinal, alias, is_public)
      SELECT s.mqid, :workflow, s.ordinal, s.alias, s.is_public
      FROM room, unnest(:mqids::text[], :aliases::text[], :publics::boolean[])
        WITH ORDINALITY AS s (mqid, alias, is_public, ordinal)
      RETURNING queue_no, mqid, workflow_id, ordinal, alias, is_public
    )
    SELECT EXISTS (SELECT FROM entered) AS is_first, EXISTS (SELECT FROM room) AS has_room, g.*
    FROM (SELECT) always LEFT JOIN granted g ON true
    ORDER BY g.ordinal
    """
)
_IS_RELEASED = statement(
    "SELECT release_time IS NOT NULL FROM mqs.workflows WHERE workflow_id = :workflow"
)
_ROOM = statement("SELECT n_queues FROM mqs.room")


@dataclass(frozen=True, slots=True)
class NoRoom:
    """There may be no more queues at a time, or their broker is not ready: ask again later."""

    reason: str


class _Refused(Exception):
    """Rolls the transaction back."""


class Grants:
    """Grants queues."""

    def __init__(
        self,
        database: Database,
        register: Register,
        broker: Broker,
        signals: Signals,
        settings: MqsSettings,
    ) -> None:
        self._database = database
        self._register = register
        self._broker = broker
        self._signals = signals
        self._limit_of_one = min(settings.max_queues_per_workflow, settings.max_queues_total)
        self._limit = settings.max_queues_total

    async def request_queues(
        self, workflow_id: WorkflowId, specs: Sequence[QueueSpec]
    ) -> list[QueueState] | NoRoom:
        """Grant a workflow its queues, in the order of the specs, or say that there is no room.

        Raises TooManyQueues, QueuesReleased, and QueueTaken when the workflow has other queues
        or somebody else's queue has one of the ids.
        """
        if len(specs) > self._limit_of_one:
            raise TooManyQueues(workflow_id, len(specs), self._limit_of_one)
        try:
            granted = await self._database.transact(lambda tx: self._grant(tx, workflow_id, specs))
        except _Refused:
            n_queues = await self._database.fetchval(_ROOM)
            return NoRoom(
                f"{n_queues} of {self._limit} queues are in use, {len(specs)} are asked for"
            )
        except UniqueViolation as error:
            raise QueueTaken(workflow_id) from error
        if granted is None:
            granted = await self._granted_before(workflow_id, specs)
        try:
            await self._broker.make_ready([state.queue for state in granted])
        except BrokerNotReady as error:
            # They are granted and count; whoever asks again is told once they are there.
            return NoRoom(error.reason)
        for state in granted:
            self._signals.changed(state.queue.number)
        return granted

    async def _grant(
        self, tx: Transaction, workflow_id: WorkflowId, specs: Sequence[QueueSpec]
    ) -> list[QueueState] | None:
        rows = await tx.fetch(
            _GRANT,
            workflow=workflow_id,
            n=len(specs),
            limit=self._limit,
            mqids=[spec.mqid for spec in specs],
            aliases=[spec.alias for spec in specs],
            publics=[spec.is_public for spec in specs],
        )
        if not rows[0]["is_first"]:
            if await tx.fetchval(_IS_RELEASED, workflow=workflow_id):
                raise QueuesReleased(workflow_id)
            return None
        if not rows[0]["has_room"]:
            raise _Refused
        queues = [queue_from(row) for row in rows if row["queue_no"] is not None]
        await self._broker.create_queues(tx, queues)
        return [QueueState(queue, False, False, False) for queue in queues]

    async def _granted_before(
        self, workflow_id: WorkflowId, specs: Sequence[QueueSpec]
    ) -> list[QueueState]:
        states = {s.queue.mqid: s for s in await self._register.of_workflow(workflow_id)}
        if states.keys() != {spec.mqid for spec in specs}:
            raise QueueTaken(workflow_id)
        return [states[spec.mqid] for spec in specs]
