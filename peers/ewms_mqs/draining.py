"""Closing queues, and noticing at once that one is drained.

A queue is drained when it is closed and no event of it waits or is leased; the broker marks that
once, in one transaction. Whoever closes, and whoever settles in a closed queue, has it checked
after his commit, so that of a close and a last acknowledgement at the same time one sees both.
A process that dies between its commit and its check is covered by a sweep at every start and
every few seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import structlog

from ewms_mqs.brokers import Broker
from ewms_mqs.model import QueueNo
from ewms_mqs.signals import Signals
from ewms_postgres.backoff import Backoff
from ewms_postgres.database import Database
from ewms_postgres.errors import DatabaseError
from ewms_postgres.statements import statement
from ewms_rpc.metrics import loop_failed

__all__ = ["Draining"]

_log = structlog.get_logger(__name__)

_SWEEP_SECONDS = 10.0
# Closed queues that look empty; with many of them that are not, each costs one index look-up.
_CANDIDATES = statement(
    """
    SELECT queue_no FROM mqs.queues q
    WHERE close_time IS NOT NULL AND drain_time IS NULL
      AND NOT EXISTS (SELECT FROM mqs.events e WHERE e.queue_no = q.queue_no)
    """
)


class Draining:
    """Closes queues and marks those that are drained."""

    def __init__(self, database: Database, signals: Signals) -> None:
        self._database = database
        self._signals = signals
        self._suspected: set[QueueNo] = set()
        self._wake = asyncio.Event()

    def suspect(self, queue: QueueNo) -> None:
        """Have a queue checked soon: it may have become drained by what was just committed."""
        self._suspected.add(queue)
        self._wake.set()

    async def close(self, broker: Broker, queues: Sequence[QueueNo]) -> None:
        """Close queues; when it returns, no event is confirmed any more. Idempotent."""
        for queue in await broker.close_queues(queues):
            self._signals.changed(queue)
        await self._drain(broker, queues)

    async def run(self, broker: Broker) -> None:
        """Check what is suspected as it comes, and sweep now and then, until cancelled."""
        backoff = Backoff()
        while True:
            try:
                await self._drain(
                    broker, [row["queue_no"] for row in await self._database.fetch(_CANDIDATES)]
                )
                await self._check_until_sweep(broker)
                backoff.reset()
            except DatabaseError as error:
                # What was suspected is among what the next sweep finds.
                loop_failed("draining")
                _log.log(backoff.level, "draining waits for the database", reason=str(error))
                await backoff.wait()

    async def _check_until_sweep(self, broker: Broker) -> None:
        sweep_at = time.monotonic() + _SWEEP_SECONDS
        while (seconds := sweep_at - time.monotonic()) > 0:
            try:
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
            except TimeoutError:
                return
            self._wake.clear()
            suspected, self._suspected = self._suspected, set()
            await self._drain(broker, list(suspected))

    async def _drain(self, broker: Broker, queues: Sequence[QueueNo]) -> None:
        if not queues:
            return
        for queue in await broker.drain_queues(queues):
            _log.info("queue drained", queue_no=queue)
            self._signals.changed(queue)
