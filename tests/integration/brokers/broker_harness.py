"""Brokers with what a test needs beyond their interface: new queues, restarts, passing time."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from ewms_mqs.brokers import Broker
from ewms_mqs.brokers.postgres import PostgresBroker
from ewms_mqs.brokers.postgres_leases import LeaseKeeper
from ewms_mqs.config import MqsSettings
from ewms_mqs.model import Queue, QueueNo
from ewms_mqs.register import queue_from
from ewms_postgres.database import Database, open_database
from ewms_postgres.statements import statement

MAX_DELIVERIES = 3

_NEW_QUEUE = statement(
    """
    SELECT * FROM mqs.grant_queues(
      :workflow, :broker, 1000000, ARRAY[:mqid::text], ARRAY['input'], ARRAY[true])
    """
)
_AGE = statement(
    "UPDATE mqs.events SET lease_until = lease_until - interval '1 day' WHERE queue_no = :queue"
)
_END_GRACE = statement("UPDATE mqs.processes SET grace_until = now() - interval '1 second'")


class Harness(Protocol):
    """A broker under test, and what a test cannot do through its interface."""

    broker: Broker
    ready: list[QueueNo]
    suspected: list[QueueNo]

    async def new_queue(self) -> Queue:
        """A queue that is granted."""

    async def restart(self) -> None:
        """Forget all that is not durable."""

    async def let_leases_run_out(self, queue: Queue) -> None:
        """Have every lease of the queue end now, as after a long time."""


@dataclass
class PostgresHarness:
    """The broker in PostgreSQL; time passes by ageing its rows."""

    database: Database
    broker: PostgresBroker = field(init=False)
    ready: list[QueueNo] = field(default_factory=list)
    suspected: list[QueueNo] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._settings = MqsSettings(max_deliveries=MAX_DELIVERIES)
        self._make_broker()

    def _make_broker(self) -> None:
        hooks = {"on_ready": self.ready.append, "on_suspicion": self.suspected.append}
        self.broker = PostgresBroker(self.database, self._settings, **hooks)
        self._leases = LeaseKeeper(self.database, self._settings, **hooks)

    async def new_queue(self) -> Queue:
        workflow, mqid = f"WF-{secrets.token_hex(8)}", secrets.token_hex(16)
        row = await self.database.fetchrow(
            _NEW_QUEUE, workflow=workflow, broker=self.broker.type, mqid=mqid
        )
        return queue_from(row)

    async def restart(self) -> None:
        self._make_broker()

    async def let_leases_run_out(self, queue: Queue) -> None:
        await self.database.execute(_AGE, queue=queue.number)
        await self._leases.beat()
        await self.database.execute(_END_GRACE)
        await self._leases.end_leases()


@asynccontextmanager
async def postgres_harness(database_url: str) -> AsyncIterator[PostgresHarness]:
    """The broker in a database whose schema is current."""
    async with open_database(database_url, application_name="test") as database:
        yield PostgresHarness(database)
