"""Leases that run out, and the times of grace in which none does.

Every process says every twelfth of a lease that it lives, and every process ends leases; rows are
skipped that another one has. For the length of a lease after its start, and after any silence of
more than a quarter of one (a pause of the process or of the machine, an outage of the database),
no process ends any. Silence is measured by the database's clock, in the statement that ends
leases itself: a process that wakes up in the middle of its loop finds itself silent there, whatever
it had read of its own clock before. A process that fell silent without a goodbye holds leases for
one more, as long as it may come back, and then no longer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from types import TracebackType
from typing import Self
from uuid import uuid4

import structlog

from ewms_mqs.brokers import postgres_statements as sql
from ewms_mqs.config import MqsSettings
from ewms_mqs.metrics import note_expired
from ewms_mqs.model import QueueNo
from ewms_postgres.database import Database
from ewms_postgres.errors import DatabaseError
from ewms_rpc.metrics import loop_failed

__all__ = ["LeaseKeeper"]

_log = structlog.get_logger(__name__)

_BEATS_PER_LEASE = 12
_SILENCES_PER_LEASE = 4
_FORGOTTEN_AFTER_LEASES = 100
_EXPIRED_AT_ONCE = 1_000


class LeaseKeeper:
    """Ends leases, while its `async with` block and `run` run; in grace from entering on.

    Parameters
    ----------
    on_ready, on_suspicion
        As in `PostgresBroker`.
    """

    def __init__(
        self,
        database: Database,
        settings: MqsSettings,
        *,
        on_ready: Callable[[QueueNo], None],
        on_suspicion: Callable[[QueueNo], None],
    ) -> None:
        self._database = database
        self._process = uuid4()
        self._lease = settings.lease
        self._silence = settings.lease / _SILENCES_PER_LEASE
        self._beat_seconds = settings.lease.total_seconds() / _BEATS_PER_LEASE
        self._max_deliveries = settings.max_deliveries
        self._on_ready = on_ready
        self._on_suspicion = on_suspicion

    async def __aenter__(self) -> Self:
        await self.beat()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._forget()
        except DatabaseError as failure:
            _log.info("left without a goodbye", reason=str(failure))

    async def run(self) -> None:
        """Beat and end leases until cancelled, through outages of the database."""
        level = logging.WARNING
        while True:
            wait = self._beat_seconds
            try:
                await self.beat()
                await self.end_leases()
                next_expiry = await self._database.fetchval(sql.NEXT_EXPIRY)
                if next_expiry is not None and next_expiry > 0:
                    wait = min(wait, next_expiry)
                level = logging.WARNING
            except DatabaseError as error:
                loop_failed("leases")
                _log.log(level, "leases wait for the database", reason=str(error))
                # An outage is told of once.
                level = logging.DEBUG
            await asyncio.sleep(wait)

    async def beat(self) -> None:
        """Say that this process lives; the first time, and after a silence, grace begins."""
        await self._database.execute(
            sql.BEAT, process=self._process, lease=self._lease, silence=self._silence
        )

    async def _forget(self) -> None:
        await self._database.execute(
            sql.FORGET_PROCESS, process=self._process, age=_FORGOTTEN_AFTER_LEASES * self._lease
        )

    async def end_leases(self) -> None:
        """End what has run out, unless somebody is in grace, this process included."""
        while True:
            rows = await self._database.fetch(
                sql.EXPIRE,
                process=self._process,
                silence=self._silence,
                lease=self._lease,
                max_deliveries=self._max_deliveries,
                limit=_EXPIRED_AT_ONCE,
            )
            for queue_no, n_ready, n_dead in rows:
                _log.info("leases ran out", queue_no=queue_no, again=n_ready, dead=n_dead)
                note_expired(n_ready, n_dead)
                if n_ready:
                    self._on_ready(queue_no)
                if n_dead:
                    self._on_suspicion(queue_no)
            if sum(n_ready + n_dead for _, n_ready, n_dead in rows) < _EXPIRED_AT_ONCE:
                return
