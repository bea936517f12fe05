"""Events through the MQS: published, delivered, acknowledged, 1 KiB each, each with an id.

Four queues, each with a publisher and a consumer on streams of their own, in batches as our own
client sends them. The limit does the same to the same tables without a server: for each queue one
task publishes batch after batch, and another claims and acknowledges.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from hashlib import blake2b
from os import urandom
from typing import Any
from uuid import uuid4

import asyncpg
import grpc

from benchmarks.bare import bare_pool
from benchmarks.load import DEADLINE, call_of, clients
from benchmarks.measuring import Round, Row, Unit, at_least
from benchmarks.site import Kind, Site
from ewms.mqs.v1 import event_service_pb2 as pb
from ewms.mqs.v1 import mqs_service_pb2
from ewms_mqs.brokers import postgres_statements as sql

__all__ = ["ROW"]

_QUEUES = 4
_EVENTS = 5_000
"""In a round, in each queue."""
_BATCH = 500
_CREDIT = 2_000
_PAYLOAD = urandom(1024)
_MQS = "/ewms.mqs.v1.MqsService"
_EVENT = "/ewms.mqs.v1.EventService"


@dataclass(frozen=True, slots=True)
class _Queue:
    """A queue with its token, on a connection of its own."""

    mqid: str
    metadata: Sequence[tuple[str, str]]
    channel: grpc.aio.Channel

    async def carry(self, batches: Sequence[bytes], n_events: int) -> None:
        """Publish the batches, and consume until every event is acknowledged for good."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._publish(batches))
            group.create_task(self._consume(n_events))

    async def _publish(self, batches: Sequence[bytes]) -> None:
        stream: Any = self.channel.stream_stream(f"{_EVENT}/Publish")(metadata=self.metadata)

        async def write() -> None:
            for batch in batches:
                await stream.write(batch)
            await stream.done_writing()

        async with asyncio.TaskGroup() as group:
            group.create_task(write())
            while await stream.read() is not grpc.aio.EOF:
                pass

    async def _consume(self, n_events: int) -> None:
        stream: Any = self.channel.stream_stream(f"{_EVENT}/Consume")(metadata=self.metadata)
        opening = pb.ConsumeRequest(mqid=self.mqid, credit=_CREDIT)
        await stream.write(opening.SerializeToString())
        n_settled = 0
        while n_settled < n_events:
            response = pb.ConsumeResponse.FromString(await stream.read())
            n_settled += len(response.settled)
            if response.deliveries:
                acks = [delivery.delivery_id for delivery in response.deliveries]
                await stream.write(pb.ConsumeRequest(ack=acks).SerializeToString())
        await stream.done_writing()
        while await stream.read() is not grpc.aio.EOF:
            pass


@asynccontextmanager
async def _ours(site: Site, kind: Kind) -> AsyncIterator[Round]:
    n_events = site.scale.of(_EVENTS)
    async with (
        site.database(kind) as url,
        site.mqs(url) as server,
        clients(server.address, _QUEUES) as channels,
    ):
        queues = await _granted(channels)

        async def measure() -> float:
            batches = [_batches_of(queue.mqid, n_events) for queue in queues]
            return await _events_a_second(
                [
                    lambda queue=queue, some=some: queue.carry(some, n_events)  # type: ignore[misc]
                    for queue, some in zip(queues, batches, strict=True)
                ],
                n_events,
            )

        yield measure


@asynccontextmanager
async def _limit(site: Site, kind: Kind) -> AsyncIterator[Round]:
    n_events = site.scale.of(_EVENTS)
    async with site.database(kind) as url, bare_pool(url, 2 * _QUEUES) as pool:
        numbers = [await _bare_queue(pool) for _ in range(_QUEUES)]

        async def measure() -> float:
            batches = [_bare_batches(n_events) for _ in numbers]
            return await _events_a_second(
                [
                    lambda number=number, some=some: _carry_bare(pool, number, some, n_events)  # type: ignore[misc]
                    for number, some in zip(numbers, batches, strict=True)
                ],
                n_events,
            )

        yield measure


ROW = Row(
    name="events",
    what="events/s published, delivered, acknowledged, 1 KiB",
    limit_is=f"the same inserts, claims and deletes, {_BATCH} at once, on bare asyncpg",
    unit=Unit.RATE,
    required=at_least(0.5),
    goal=at_least(0.7),
    ours=_ours,
    limit=_limit,
)


async def _events_a_second(
    carriers: Sequence[Callable[[], Awaitable[None]]], n_events: int
) -> float:
    begin = time.perf_counter()
    async with asyncio.timeout(DEADLINE):
        await asyncio.gather(*(carry() for carry in carriers))
    return len(carriers) * n_events / (time.perf_counter() - begin)


async def _granted(channels: Sequence[grpc.aio.Channel]) -> list[_Queue]:
    """Have a queue granted for each channel, with its token."""
    workflow_id = f"WF-{int(time.time()):x}-{uuid4().hex[:8]}"
    mqids = [uuid4().hex for _ in channels]
    asking = mqs_service_pb2.RequestQueuesRequest(
        workflow_id=workflow_id,
        queues=[
            mqs_service_pb2.QueueSpec(mqid=mqid, alias=f"queue-{number}", is_public=True)
            for number, mqid in enumerate(mqids)
        ],
    )
    await call_of(channels[0], f"{_MQS}/RequestQueues")(asking.SerializeToString())
    minting = mqs_service_pb2.RefreshTokensRequest(workflow_id=workflow_id, mqids=mqids)
    answer = await call_of(channels[0], f"{_MQS}/RefreshTokens")(minting.SerializeToString())
    profiles = mqs_service_pb2.RefreshTokensResponse.FromString(answer).profiles
    return [
        _Queue(profile.mqid, (("authorization", f"Bearer {profile.auth_token}"),), channel)
        for profile, channel in zip(profiles, channels, strict=True)
    ]


def _batches_of(mqid: str, n_events: int) -> list[bytes]:
    return [
        pb.PublishRequest(
            mqid=mqid,
            events=[
                pb.Event(event_id=uuid4().hex, payload=_PAYLOAD)
                for _ in range(min(_BATCH, n_events - start))
            ],
        ).SerializeToString()
        for start in range(0, n_events, _BATCH)
    ]


async def _bare_queue(pool: Any) -> int:
    """A queue that nobody serves."""
    number: int = await pool.fetchval(
        """
        WITH workflow AS (
          INSERT INTO mqs.workflows (workflow_id, grant_time) VALUES ($1, now())
          RETURNING workflow_id
        ), queue AS (
          INSERT INTO mqs.queues (mqid, workflow_id, ordinal, alias, is_public)
          SELECT $2, workflow_id, 1, 'queue', true FROM workflow RETURNING queue_no
        ), counts AS (
          INSERT INTO mqs.counts (queue_no) SELECT queue_no FROM queue
        ) SELECT queue_no FROM queue
        """,
        f"WF-{uuid4().hex}",
        uuid4().hex,
    )
    return number


def _bare_batches(n_events: int) -> list[tuple[list[bytes], list[bytes]]]:
    """The ids' hashes and the encoded events of each batch."""
    batches = []
    for start in range(0, n_events, _BATCH):
        ids = [uuid4().hex for _ in range(min(_BATCH, n_events - start))]
        hashes = [blake2b(i.encode(), digest_size=16).digest() for i in ids]
        bodies = [pb.Event(event_id=i, payload=_PAYLOAD).SerializeToString() for i in ids]
        batches.append((hashes, bodies))
    return batches


async def _carry_bare(
    pool: Any, queue: int, batches: Sequence[tuple[list[bytes], list[bytes]]], n_events: int
) -> None:
    published = asyncio.Event()

    async def publish() -> None:
        async with pool.acquire() as connection:
            for hashes, bodies in batches:
                await connection.fetch(sql.PUBLISH.sql, queue, hashes, bodies)
                published.set()

    async def consume() -> None:
        async with pool.acquire() as connection:
            n_settled = 0
            while n_settled < n_events:
                # Cleared first: what is published during an empty claim is not to be missed.
                published.clear()
                n = await _claim_and_settle(connection, queue)
                n_settled += n
                if not n:
                    await published.wait()

    async with asyncio.TaskGroup() as group:
        group.create_task(publish())
        group.create_task(consume())


async def _claim_and_settle(connection: asyncpg.Connection[Any], queue: int) -> int:
    minute = timedelta(minutes=1)
    rows = await connection.fetch(sql.CLAIM.sql, queue, _BATCH, 4 << 20, minute)
    if rows:
        keys = sorted((row["event_no"], row["claim_no"]) for row in rows)
        nos, claims = [no for no, _ in keys], [claim for _, claim in keys]
        await connection.fetch(
            sql.SETTLE.sql, queue, minute, 5, nos, claims, [], [], [], [], [], [], []
        )
    return len(rows)
