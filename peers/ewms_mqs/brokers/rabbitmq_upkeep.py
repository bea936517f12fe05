"""Keeps RabbitMQ as the MQS's tables say: its set-up, its queues, and samples of what is in them.

One process of many takes samples, once a second; any may declare and delete. Guarantees that after
a kill at any step the next round completes what is written down. It never deletes a queue whose
name is none that an MQS gives.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Sequence

import structlog

from ewms_mqs.brokers import rabbitmq_statements as sql
from ewms_mqs.brokers.rabbitmq import MAX_GAP, declare
from ewms_mqs.brokers.rabbitmq_management import (
    BrokerAway,
    BrokerRefuses,
    Management,
    QueueSample,
)
from ewms_mqs.config import MqsSettings
from ewms_mqs.model import QueueNo
from ewms_postgres.backoff import Backoff
from ewms_postgres.database import Database
from ewms_rpc.metrics import loop_failed

__all__ = ["DEAD_EXCHANGE", "Upkeep"]

_log = structlog.get_logger(__name__)

DEAD_EXCHANGE = "ewms.dead"
_POLICY = "ewms"
_NAMES = "^[0-9a-f]{32}$"
_SAMPLE_SECONDS = 1.0
_CHORE_SECONDS = 2.0
_SWEEP_SECONDS = 60.0
_AT_ONCE = 500
# Before that the broker's own configuration alone says it, and the setting what that says.
_TIMEOUT_BY_POLICY_SINCE = (3, 12)


class Upkeep:
    """The loops.

    Parameters
    ----------
    on_suspicion
        Called when a closed queue has been quiet for long enough.
    """

    def __init__(
        self,
        database: Database,
        management: Management,
        settings: MqsSettings,
        *,
        on_suspicion: Callable[[QueueNo], None],
    ) -> None:
        self._database = database
        self._management = management
        self._max_deliveries = settings.max_deliveries
        self._quiet = settings.drain_quiet
        self._consumer_timeout = settings.rabbitmq_consumer_timeout
        self._on_suspicion = on_suspicion
        self._names = re.compile(_NAMES)
        self._uncounted: set[str] = set()

    async def set_up(self) -> None:
        """Have the exchange and the queue of dead letters, and the one policy. Idempotent."""
        row = await self._database.fetchrow(sql.BROKER)
        assert row is not None
        await self._management.declare_exchange(DEAD_EXCHANGE)
        await self._management.declare_queue(row["dead_queue"])
        await self._management.bind(DEAD_EXCHANGE, row["dead_queue"])
        policy: dict[str, object] = {
            "dead-letter-exchange": DEAD_EXCHANGE,
            # Without this a dead letter is lost when the broker is killed on its way.
            "dead-letter-strategy": "at-least-once",
            "overflow": "reject-publish",
            # The broker counts returns, and the first delivery is none.
            "delivery-limit": self._max_deliveries - 1,
        }
        if await self._management.version() >= _TIMEOUT_BY_POLICY_SINCE:
            policy["consumer-timeout"] = round(self._consumer_timeout.total_seconds() * 1000)
        await self._management.set_policy(_POLICY, _NAMES, policy)

    async def sample_for_ever(self) -> None:
        """Take samples until cancelled; for the one process that is elected.

        Raises DatabaseError.
        """
        backoff = Backoff()
        sweep_at = 0.0
        while True:
            try:
                if time.monotonic() >= sweep_at:
                    await self.set_up()
                    await self._sweep()
                    sweep_at = time.monotonic() + _SWEEP_SECONDS
                await self.sample()
            except (BrokerAway, BrokerRefuses) as error:
                loop_failed("rabbitmq samples")
                _log.warning("no sample of RabbitMQ", reason=str(error))
                # It may come back as another, set up anew.
                sweep_at = 0.0
                await backoff.wait()
                continue
            backoff.reset()
            await asyncio.sleep(_SAMPLE_SECONDS)

    async def sample(self) -> list[QueueSample]:
        """Take one sample, and have queues checked that may be drained by it."""
        alarms = await self._management.alarms()
        samples = [
            sample
            for sample in await self._management.queues()
            if sample.is_counted and self._names.match(sample.name)
        ]
        for start in range(0, len(samples), _AT_ONCE):
            some = samples[start : start + _AT_ONCE]
            await self._database.execute(
                sql.UPDATE_SAMPLES,
                mqids=[s.name for s in some],
                ready=[s.ready for s in some],
                unacked=[s.unacked for s in some],
                published=[s.published for s in some],
                acked=[s.acked for s in some],
            )
        await self._database.execute(sql.NOTE_SAMPLE, alarm=alarms, max_gap=MAX_GAP)
        for row in await self._database.fetch(sql.DRAINABLE, quiet=self._quiet, max_gap=MAX_GAP):
            self._on_suspicion(row["queue_no"])
        return samples

    async def _sweep(self) -> None:
        """Find queues that RabbitMQ lost, and those there that nobody knows (any more)."""
        samples = [s for s in await self._management.queues() if self._names.match(s.name)]
        names = [s.name for s in samples]
        self._tell_of_leaderless({s.name for s in samples if not s.is_counted})
        lost = await self._database.fetch(sql.UNDECLARE, mqids=names)
        if lost:
            _log.error("RabbitMQ has lost queues, with their events", n_queues=len(lost))
        known = {row["mqid"] for row in await self._database.fetch(sql.KNOWN_NAMES, mqids=names)}
        for name in names:
            # A token may declare its queue again after the release.
            if name not in known:
                _log.info("a queue of nobody is deleted", mqid=name)
                await self._management.delete_queue(name)

    def _tell_of_leaderless(self, uncounted: set[str]) -> None:
        """Say so of queues that two sweeps have found uncounted: nobody gets at their events."""
        for name in sorted(uncounted & self._uncounted):
            _log.error("a queue in RabbitMQ has no leader; RabbitMQ's log tells why", mqid=name)
        self._uncounted = uncounted

    async def chores_for_ever(self) -> None:
        """Declare and delete what is written down, until cancelled. Raises DatabaseError."""
        backoff = Backoff()
        while True:
            try:
                await self.declare_some()
                await self.delete_some()
            except (BrokerAway, BrokerRefuses) as error:
                loop_failed("rabbitmq chores")
                _log.warning("RabbitMQ is not as it should be yet", reason=str(error))
                await backoff.wait()
                continue
            backoff.reset()
            await asyncio.sleep(_CHORE_SECONDS)

    async def declare_some(self) -> None:
        """Declare queues that are granted and not there."""
        rows = await self._database.fetch(sql.TO_DECLARE, limit=_AT_ONCE)
        await declare(self._database, self._management, [row["mqid"] for row in rows])

    async def delete_some(self) -> None:
        """Delete queues that are released."""
        rows = await self._database.fetch(sql.TO_DELETE, limit=_AT_ONCE)
        mqids = [row["mqid"] for row in rows]
        if mqids:
            await self._delete(mqids)

    async def _delete(self, mqids: Sequence[str]) -> None:
        outcomes = await asyncio.gather(
            *(self._management.delete_queue(mqid) for mqid in mqids), return_exceptions=True
        )
        gone = [m for m, o in zip(mqids, outcomes, strict=True) if not isinstance(o, BaseException)]
        await self._database.execute(sql.DELETED, mqids=gone)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
