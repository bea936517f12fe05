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
from ewms_postgres.database import Database
from ewms_postgres.errors import UniqueViolation
from ewms_postgres.statements import statement

__all__ = ["Grants", "NoRoom"]

_GRANT = statement(
    """
    SELECT * FROM mqs.grant_queues(:workflow, :broker, :limit, :mqids, :aliases, :publics)
    """
)
_ROOM = statement("SELECT n_queues FROM mqs.room")


@dataclass(frozen=True, slots=True)
class NoRoom:
    """There may be no more queues at a time, or their broker is not ready: ask again later."""

    reason: str


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
        granted = await self._grant(workflow_id, specs)
        if granted is None:
            n_queues = await self._database.fetchval(_ROOM)
            return NoRoom(
                f"{n_queues} of {self._limit} queues are in use, {len(specs)} are asked for"
            )
        try:
            await self._broker.make_ready([state.queue for state in granted])
        except BrokerNotReady as error:
            # They are granted and count; whoever asks again is told once they are there.
            return NoRoom(error.reason)
        for state in granted:
            self._signals.changed(state.queue.number)
        return granted

    async def _grant(
        self, workflow_id: WorkflowId, specs: Sequence[QueueSpec]
    ) -> list[QueueState] | None:
        """Return the queues as they are, None where there is no room. All in one statement."""
        try:
            rows = await self._database.fetch(
                _GRANT,
                workflow=workflow_id,
                broker=self._broker.type,
                limit=self._limit,
                mqids=[spec.mqid for spec in specs],
                aliases=[spec.alias for spec in specs],
                publics=[spec.is_public for spec in specs],
            )
        except UniqueViolation as error:
            raise QueueTaken(workflow_id) from error
        outcome = rows[0]["outcome"] if rows else "granted"
        if outcome == "released":
            raise QueuesReleased(workflow_id)
        if outcome == "before":
            return await self._granted_before(workflow_id, specs)
        if outcome == "no room":
            return None
        return [QueueState(queue_from(row), False, False, False) for row in rows]

    async def _granted_before(
        self, workflow_id: WorkflowId, specs: Sequence[QueueSpec]
    ) -> list[QueueState]:
        states = {s.queue.mqid: s for s in await self._register.of_workflow(workflow_id)}
        if states.keys() != {spec.mqid for spec in specs}:
            raise QueueTaken(workflow_id)
        return [states[spec.mqid] for spec in specs]
