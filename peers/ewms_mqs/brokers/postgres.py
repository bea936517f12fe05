"""The broker in PostgreSQL: events are rows, a claim is a lease on a row, an ack deletes it.

Guarantees durability at the return of each call, at-least-once delivery, and that no event is
confirmed after a close. One statement a batch; any number of processes share a queue. It must
never hold events or leases in memory: a process that dies takes nothing with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from ewms.mqs.v1.event_service_pb2 import Event
from ewms_mqs.brokers import BrokerType, Capabilities, Claimed, DeadLetterPage
from ewms_mqs.brokers import postgres_dead_letters as dead_letters
from ewms_mqs.brokers import postgres_statements as sql
from ewms_mqs.brokers.postgres_calls import again, change_queues, counts_of, event_of, require
from ewms_mqs.brokers.postgres_settling import arguments_of, keys_of, made_id, outcome_of
from ewms_mqs.config import MqsSettings
from ewms_mqs.metrics import note_deliveries, note_published, note_settled
from ewms_mqs.model import (
    Counts,
    DeliveredEvent,
    DeliveryId,
    Queue,
    QueueNo,
    Settled,
    Settlement,
)
from ewms_postgres.database import Database, Transaction

__all__ = ["PostgresBroker"]


class PostgresBroker:
    """Queues whose events are rows of `mqs.events`.

    Parameters
    ----------
    database
        Where the schema `mqs` is.
    settings
        Lease, greatest number of deliveries.
    on_ready
        Called after a commit that lets events of a queue wait.
    on_suspicion
        Called after a commit by which a closed queue may have become drained.
    """

    type: BrokerType = "postgres"
    capabilities = Capabilities(
        serves_events=True,
        leases=True,
        extends=True,
        settles_elsewhere=True,
        drops_repeats=True,
        fences_publishers=True,
        retries_later=True,
        keeps_reasons=True,
        returns_uncounted=True,
    )

    def __init__(
        self,
        database: Database,
        settings: MqsSettings,
        *,
        on_ready: Callable[[QueueNo], None],
        on_suspicion: Callable[[QueueNo], None],
    ) -> None:
        self._database = database
        self._lease = settings.lease
        self._max_deliveries = settings.max_deliveries
        self._on_ready = on_ready
        self._on_suspicion = on_suspicion

    async def make_ready(self, queues: Sequence[Queue]) -> None:
        """Nothing is left to be done."""

    async def delete_queues(self, tx: Transaction, queues: Sequence[Queue]) -> None:
        """Leave the events to be deleted in the background, however many there are."""
        await tx.execute(sql.DELETE_QUEUES, queues=[queue.number for queue in queues])

    async def publish(self, queue: Queue, batches: Sequence[Sequence[Event]]) -> list[int]:
        """Append all batches in one statement. A repeat within them counts in the first only."""
        hashes: list[bytes | None] = []
        bodies: list[bytes] = []
        new: list[dict[bytes, None]] = []
        n_new: list[int] = []
        seen: set[bytes] = set()
        for batch in batches:
            n_anonymous, named = 0, dict[bytes, None]()
            for event in batch:
                key = _hash_of(event.event_id) if event.event_id else None
                if key is None:
                    n_anonymous += 1
                elif key in seen:
                    continue
                else:
                    seen.add(key)
                    named[key] = None
                hashes.append(key)
                bodies.append(event.SerializeToString())
            new.append(named)
            n_new.append(n_anonymous + len(named))
        row = await again(
            lambda: self._database.fetchrow(
                sql.PUBLISH, queue=queue.number, hashes=hashes, bodies=bodies
            )
        )
        require(row["outcome"], queue)
        for key in row["repeated"]:
            for index, named in enumerate(new):
                n_new[index] -= key in named
        if any(n_new):
            self._on_ready(queue.number)
        note_published(sum(n_new))
        return n_new

    async def claim(self, queue: Queue, limit: int, max_bytes: int) -> Claimed:
        """Lease events from the head of the queue."""
        rows = await again(
            lambda: self._database.fetch(
                sql.CLAIM,
                queue=queue.number,
                limit=limit,
                max_bytes=max_bytes,
                lease=self._lease,
            )
        )
        # An UPDATE returns rows in the order of its join.
        rows.sort(key=_place)
        note_deliveries(row["n_deliveries"] for row in rows)
        deliveries = [
            DeliveredEvent(
                made_id(no, claim_no), event_of(no, body), n_deliveries, publish_time, len(body)
            )
            for _, no, claim_no, n_deliveries, publish_time, _, body in rows
        ]
        return Claimed(deliveries, bool(rows) and len(rows) < rows[0]["n_ready"])

    async def settle(self, queue: Queue, settlement: Settlement) -> Settled:
        """Settle in one statement; a second one tells what is gone from what came too late."""
        arguments = arguments_of(settlement)
        row = await again(
            lambda: self._database.fetchrow(
                sql.SETTLE,
                queue=queue.number,
                lease=self._lease,
                max_deliveries=self._max_deliveries,
                **arguments,
            )
        )
        n_requeued = row["n_requeued"]
        note_settled(len(row["acked"]), n_requeued, len(row["refused"]) - n_requeued)
        if n_requeued:
            self._on_ready(queue.number)
        if row["is_closed"] and (row["acked"] or row["refused"]):
            self._on_suspicion(queue.number)
        acked = set(row["acked"])
        missing = [no for no in arguments["ack_nos"] if no not in acked]
        if missing:
            acked.update(missing)
            acked.difference_update(await self._remaining(queue, missing))
        return outcome_of(settlement, acked, set(row["refused"]), set(row["extended"]))

    async def _remaining(self, queue: Queue, event_nos: list[int]) -> list[int]:
        rows = await self._database.fetch(sql.WHICH_REMAIN, queue=queue.number, nos=event_nos)
        return [row["event_no"] for row in rows]

    async def give_back(self, queue: Queue, deliveries: Sequence[DeliveryId]) -> None:
        """Put back in their old places those that were not extended elsewhere."""
        nos, claims = keys_of(deliveries)
        n_back = await again(
            lambda: self._database.fetchval(
                sql.GIVE_BACK, queue=queue.number, nos=nos, claims=claims
            )
        )
        if n_back:
            self._on_ready(queue.number)

    async def close_queues(self, queues: Sequence[QueueNo]) -> list[QueueNo]:
        """Close in the order of the numbers, some at a time."""
        return await change_queues(self._database, queues, sql.CLOSE)

    async def drain_queues(self, queues: Sequence[QueueNo]) -> list[QueueNo]:
        """Mark in the order of the numbers, some at a time."""
        return await change_queues(self._database, queues, sql.DRAIN)

    async def ready_queues(self, queues: Sequence[QueueNo]) -> list[QueueNo]:
        """Look for one waiting event in each."""
        return [row["q"] for row in await self._database.fetch(sql.READY, queues=list(queues))]

    async def counts(self, queues: Sequence[QueueNo]) -> dict[QueueNo, Counts]:
        """Sum up in one snapshot."""
        return counts_of(await self._database.fetch(sql.COUNTS, queues=list(queues)))

    async def changed_counts(self, within: timedelta) -> dict[QueueNo, Counts]:
        """Sum up what is new in one snapshot."""
        return counts_of(await self._database.fetch(sql.CHANGED_COUNTS, within=within))

    async def list_dead_letters(self, queue: Queue, limit: int, after: int) -> DeadLetterPage:
        """Page by the number that dead letters are given."""
        return await dead_letters.list_page(self._database, queue, limit, after)

    async def requeue_dead_letters(
        self, queue: Queue, ids: Sequence[str] | None, request_id: str = ""
    ) -> int:
        """Put them at the end of the queue: those that are named at once, all some at a time."""
        if ids is None:
            n_requeued = await dead_letters.requeue_all(self._database, queue)
        else:
            n_requeued = await dead_letters.requeue(self._database, queue, ids, request_id)
        if n_requeued:
            self._on_ready(queue.number)
        return n_requeued


def _hash_of(event_id: str) -> bytes:
    return hashlib.blake2b(event_id.encode(), digest_size=16).digest()


def _place(row: Any) -> int:
    place: int = row["place"]
    return place
