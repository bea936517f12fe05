"""Pilots on the real MQS: its leases, tokens, credentials, draining and restarts."""

from __future__ import annotations

import random
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import grpc.aio
import pytest
from pilot_pool import Gate, PilotProcess, Pool

from ewms.mqs.v1 import event_service_pb2 as ev
from ewms.mqs.v1 import mqs_service_pb2 as pb
from ewms.mqs.v1.event_service_pb2_grpc import EventServiceStub
from ewms.mqs.v1.mqs_service_pb2_grpc import MqsServiceStub
from ewms_mqs.config import MqsSettings
from ewms_mqs.server import mqs_server

COPY = "cp {{INFILE}} {{OUTFILE}}"


class Mqs:
    """An MQS that can be restarted, with a workflow of two queues and a pilot's credential."""

    def __init__(self, database_url: str, pool: Pool) -> None:
        self._settings = MqsSettings(
            database=database_url,
            listen="127.0.0.1:0",
            lease=timedelta(seconds=1),
            token_life=timedelta(seconds=3),
            max_deliveries=1000,
        )
        self._pool = pool
        self._stack = AsyncExitStack()
        self.address = ""
        self.credential = ""
        self.queues: dict[str, pb.QueueProfile] = {}

    async def start(self) -> None:
        running = await self._stack.enter_async_context(mqs_server(self._settings))
        self.address = running.address
        self._settings = self._settings.model_copy(update={"listen": running.address})
        channel = await self._stack.enter_async_context(grpc.aio.insecure_channel(running.address))
        self.mqs, self.events = MqsServiceStub(channel), EventServiceStub(channel)

    async def stop(self) -> None:
        await self._stack.aclose()
        self._stack = AsyncExitStack()

    async def grant(self) -> None:
        specs = [pb.QueueSpec(mqid=secrets.token_hex(16), alias=a) for a in ("in", "out")]
        await self.mqs.RequestQueues(pb.RequestQueuesRequest(workflow_id="WF-1", queues=specs))
        await self.refresh()

    async def refresh(self) -> None:
        answer = await self.mqs.RefreshTokens(
            pb.RefreshTokensRequest(workflow_id="WF-1", taskforce_uuid="TF-1")
        )
        self.credential = answer.pilot_credential
        self.queues = {profile.alias: profile for profile in answer.profiles}

    async def put(self, *payloads: bytes) -> None:
        events = [ev.Event(payload=payload) for payload in payloads]
        request = ev.PublishBatchRequest(mqid=self.queues["in"].mqid, events=events)
        await self.events.PublishBatch(request, metadata=self._bearer("in"))

    async def close(self, alias: str) -> None:
        mqid = self.queues[alias].mqid
        await self.mqs.CloseQueue(pb.CloseQueueRequest(workflow_id="WF-1", mqids=[mqid]))

    async def stats(self, alias: str) -> pb.QueueStats:
        answer = await self.mqs.GetQueueStats(pb.GetQueueStatsRequest(workflow_id="WF-1"))
        return next(stats for stats in answer.queues if stats.alias == alias)

    async def results(self, count: int) -> list[bytes]:
        """Everything on the outgoing queue, which must be that many: no fewer, no more."""
        await self.refresh()
        await self.close("out")
        call = self.events.Consume(metadata=self._bearer("out"))
        await call.write(ev.ConsumeRequest(mqid=self.queues["out"].mqid, credit=count + 1))
        payloads = []
        async for response in call:
            payloads += [delivery.event.payload for delivery in response.deliveries]
            if response.deliveries:
                ids = [delivery.delivery_id for delivery in response.deliveries]
                await call.write(ev.ConsumeRequest(ack=ids))
        return payloads

    async def pilot(self, args: str, **settings: str) -> PilotProcess:
        return await self._pool.start(
            args,
            credential=self.credential,
            queue_incoming=self.queues["in"].mqid,
            queue_incoming_broker_address=self.address,
            queue_outgoing=self.queues["out"].mqid,
            queue_outgoing_broker_address=self.address,
            **settings,
        )

    def _bearer(self, alias: str) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.queues[alias].auth_token}"),)


@pytest.fixture
async def mqs(database_url: str, pool: Pool) -> AsyncIterator[Mqs]:
    mqs = Mqs(database_url, pool)
    await mqs.start()
    await mqs.grant()
    yield mqs
    await mqs.stop()


async def test_two_pilots_share_a_queue_until_it_is_drained(mqs: Mqs) -> None:
    payloads = [str(number).encode() for number in range(40)]
    await mqs.put(*payloads)
    await mqs.close("in")
    pilots = [await mqs.pilot(COPY, max_concurrent_tasks="2") for _ in range(2)]
    assert [await pilot.ended(30) for pilot in pilots] == [0, 0]
    assert sorted(await mqs.results(40)) == sorted(payloads)
    assert (await mqs.stats("in")).done == 40


async def test_a_long_task_outlives_leases_tokens_and_the_mqs(mqs: Mqs, gate: Gate) -> None:
    await mqs.put(b"long")
    await mqs.close("in")
    pilot = await mqs.pilot(gate.command())
    end = await gate.reached()
    await mqs.stop()
    await pilot.until_said(b"UNAVAILABLE")
    await mqs.start()
    # Each token lives for 3 s and is renewed at half of that; a lease is 1 s.
    while pilot.log.count(b"fresh token") < 4:
        await pilot.until_more_said()
    assert (await mqs.stats("in")).in_flight == 1
    gate.open(end)
    assert await pilot.ended() == 0
    assert await mqs.results(1) == [b"long"]


async def test_a_removed_worker_gives_its_events_to_the_others_at_once(
    mqs: Mqs, gate: Gate, tmp_path: Path
) -> None:
    await mqs.put(b"x")
    pilot = await mqs.pilot(gate.command())
    await gate.reached()
    pilot.process.terminate()
    assert await pilot.ended() == 143
    stats = await mqs.stats("in")
    assert (stats.depth, stats.in_flight) == (1, 0)


async def test_kills_of_pilots_and_restarts_of_the_mqs_lose_and_double_nothing(mqs: Mqs) -> None:
    rng = random.Random(7)
    payloads = [str(number).encode() for number in range(60)]
    await mqs.put(*payloads)
    await mqs.close("in")
    for turn in range(4):
        pilot = await mqs.pilot(COPY, max_concurrent_tasks="2")
        await pilot.until_said(b"Tasking")
        for _ in range(rng.randrange(3)):
            await pilot.until_more_said(timeout=0.2)
        if turn % 2:
            await mqs.stop()
            await mqs.start()
        pilot.kill()
        await pilot.ended()
    assert await (await mqs.pilot(COPY, max_concurrent_tasks="2")).ended(40) == 0
    assert sorted(await mqs.results(60)) == sorted(payloads)
    assert (await mqs.stats("in")).dead == 0
