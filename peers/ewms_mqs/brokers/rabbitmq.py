"""RabbitMQ as the broker: durable quorum queues, to which clients speak AMQP with their tokens.

Guarantees that no queue is declared there which no committed grant knows of, that a release is
followed by the deletion, and that a queue is drained only once it is closed and was empty in every
sample for `drain_quiet`. That a queue is closed is its publishers' promise: RabbitMQ takes what
they publish later, which is counted. No transaction is open across a call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta

from ewms_mqs.brokers import BrokerType, Capabilities, DeadLetterPage
from ewms_mqs.brokers import postgres_dead_letters as dead_letters
from ewms_mqs.brokers import postgres_statements as shared
from ewms_mqs.brokers import rabbitmq_statements as sql
from ewms_mqs.brokers.elsewhere import NoEvents
from ewms_mqs.brokers.postgres_calls import change_queues, counts_of
from ewms_mqs.brokers.rabbitmq_management import BrokerAway, BrokerRefuses, Management
from ewms_mqs.config import MqsSettings
from ewms_mqs.errors import BrokerNotReady
from ewms_mqs.model import Counts, Mqid, Queue, QueueNo
from ewms_postgres.database import Database, Transaction

__all__ = ["MAX_GAP", "RabbitBroker", "declare"]

# Longer than one sample may take, and shorter than what counts as quiet.
MAX_GAP = timedelta(seconds=5)
_DECLARED_AT_ONCE = 64
# RabbitMQ writes a new quorum queue's name to disk only after half a second without another one.
# A node that is killed before starts the queue anew, without what was confirmed, and leaderless.
_REGISTERED_AFTER = 0.75


class RabbitBroker(NoEvents):
    """Queues on RabbitMQ; what the MQS must know of them is in its own tables.

    Parameters
    ----------
    database
        Where the schema `mqs` is.
    management
        RabbitMQ's API.
    address
        Where clients find it, as it stands in queue profiles.
    on_returned
        Called after a commit that has dead letters put back.
    """

    type: BrokerType = "rabbitmq"
    capabilities = Capabilities(
        serves_events=False,
        leases=False,
        extends=False,
        settles_elsewhere=False,
        drops_repeats=False,
        fences_publishers=False,
        retries_later=False,
        keeps_reasons=False,
        returns_uncounted=False,
    )

    def __init__(
        self,
        database: Database,
        management: Management,
        settings: MqsSettings,
        address: str,
        *,
        on_returned: Callable[[], None],
    ) -> None:
        super().__init__("rabbitmq", address)
        self._database = database
        self._management = management
        self._quiet = settings.drain_quiet
        self._on_returned = on_returned

    async def make_ready(self, queues: Sequence[Queue]) -> None:
        """Declare those that are not yet, unless the broker is short of something."""
        numbers = [queue.number for queue in queues]
        rows = await self._database.fetch(sql.UNDECLARED, queues=numbers)
        if not rows:
            return
        alarm = await self._database.fetchval(sql.ALARM, max_gap=MAX_GAP)
        if alarm:
            raise BrokerNotReady(f"RabbitMQ: {alarm}")
        try:
            await declare(self._database, self._management, [row["mqid"] for row in rows])
        except (BrokerAway, BrokerRefuses) as error:
            raise BrokerNotReady(str(error)) from error
        await asyncio.sleep(_REGISTERED_AFTER)

    async def delete_queues(self, tx: Transaction, queues: Sequence[Queue]) -> None:
        """Write down what is to be deleted, there and here."""
        numbers = [queue.number for queue in queues]
        await tx.execute(sql.GIVE_UP, queues=numbers)
        await tx.execute(shared.DELETE_QUEUES, queues=numbers)

    async def close_queues(self, queues: Sequence[QueueNo]) -> list[QueueNo]:
        """Note the publishers' promise; RabbitMQ cannot be told."""
        return await change_queues(self._database, queues, shared.CLOSE)

    async def drain_queues(self, queues: Sequence[QueueNo]) -> list[QueueNo]:
        """Mark those that have been quiet for long enough."""
        return await change_queues(
            self._database, queues, sql.DRAIN, quiet=self._quiet, max_gap=MAX_GAP
        )

    async def counts(self, queues: Sequence[QueueNo]) -> dict[QueueNo, Counts]:
        """As of the last sample."""
        return counts_of(await self._database.fetch(shared.COUNTS, queues=list(queues)))

    async def changed_counts(self, within: timedelta) -> dict[QueueNo, Counts]:
        """As of the last sample."""
        return counts_of(await self._database.fetch(shared.CHANGED_COUNTS, within=within))

    async def list_dead_letters(self, queue: Queue, limit: int, after: int) -> DeadLetterPage:
        """List the copies that were made of them."""
        return await dead_letters.list_page(self._database, queue, limit, after)

    async def requeue_dead_letters(
        self, queue: Queue, ids: Sequence[str] | None, request_id: str = ""
    ) -> int:
        """Have them published again: written down when this returns, and there soon."""
        if ids is None:
            n_requeued = await dead_letters.requeue_all(self._database, queue)
        else:
            n_requeued = await dead_letters.requeue(self._database, queue, ids, request_id)
        if n_requeued:
            self._on_returned()
        return n_requeued


async def declare(database: Database, management: Management, mqids: Sequence[Mqid]) -> None:
    """Declare queues at the broker, some at a time, and write down that they are there.

    Raises BrokerAway and BrokerRefuses; what was declared by then is written down.
    """
    for start in range(0, len(mqids), _DECLARED_AT_ONCE):
        some = mqids[start : start + _DECLARED_AT_ONCE]
        outcomes = await asyncio.gather(
            *(management.declare_queue(mqid) for mqid in some), return_exceptions=True
        )
        there = [m for m, o in zip(some, outcomes, strict=True) if not isinstance(o, BaseException)]
        await database.execute(sql.DECLARED, mqids=there)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
