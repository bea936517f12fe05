"""Counts of queues on a watch: relayed from the MQS, outside of every guarantee."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from watched_wms import Process, prepare, revision_of, snapshot_of, wms_process

from ewms.mqs.v1 import mqs_service_pb2
from ewms.mqs.v1.mqs_service_pb2_grpc import MqsServiceStub
from ewms_rpc.channel import open_channel
from ewms_rpc.serving import RpcServer, ServerSettings, Service
from wms_grpc.engine.queue_stats import QueueStatsRelay

SERVICE = mqs_service_pb2.DESCRIPTOR.services_by_name["MqsService"]


@dataclass
class FakeMqs:
    """An MQS that says of queues what the test puts into `says`."""

    says: asyncio.Queue[mqs_service_pb2.WatchQueueStatsResponse] = field(
        default_factory=asyncio.Queue
    )
    asked: asyncio.Queue[list[str]] = field(default_factory=asyncio.Queue)

    def __post_init__(self) -> None:
        for method in SERVICE.methods:
            if method.name != "WatchQueueStats":
                setattr(self, method.name, _never)

    async def WatchQueueStats(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.asked.put_nowait(sorted(request.workflow_ids))
        while True:
            yield await self.says.get()

    def say(self, *queues: tuple[str, str, int]) -> None:
        """Tell the depth of queues by workflow and alias."""
        self.says.put_nowait(
            mqs_service_pb2.WatchQueueStatsResponse(
                queues=[
                    mqs_service_pb2.QueueStats(workflow_id=id_, alias=alias, depth=depth)
                    for id_, alias, depth in queues
                ]
            )
        )


async def _never(request: Any, context: Any) -> Any:
    raise NotImplementedError


@pytest.fixture
def mqs() -> FakeMqs:
    return FakeMqs()


@pytest.fixture
async def wms(database_url, mqs):
    async with (
        asyncio.timeout(60),
        wms_process(await prepare(database_url)) as process,
        serving(mqs) as server,
        relaying(process, server.address) as relayed,
    ):
        yield relayed


@asynccontextmanager
async def serving(mqs: FakeMqs, address: str = "127.0.0.1:0") -> AsyncIterator[RpcServer]:
    async with RpcServer(ServerSettings(listen=address), [Service(SERVICE, mqs)]) as server:
        yield server


@asynccontextmanager
async def relaying(process: Process, address: str) -> AsyncIterator[Process]:
    """The process with a relay of its own to the MQS."""
    async with open_channel(address) as channel:
        relay = QueueStatsRelay(MqsServiceStub(channel), interval=timedelta(seconds=0.1))
        running = asyncio.create_task(relay.run())
        try:
            yield replace(process, stats=relay)
        finally:
            running.cancel()
            await asyncio.wait([running])


async def test_counts_come_beside_the_revisions(wms: Process, mqs: FakeMqs):
    workflow_id = await wms.submit()
    watch = wms.watch(workflow_id)
    await snapshot_of(watch)
    assert await mqs.asked.get() == [workflow_id]

    mqs.say((workflow_id, "input", 3), (workflow_id, "output", 1))
    sample = (await anext(watch)).queue_stats
    assert {q.alias: q.depth for q in sample.queues} == {"input": 3, "output": 1}

    await wms.change(workflow_id, priority=1)
    assert (await revision_of(watch)).revision == 2

    mqs.say((workflow_id, "input", 2))
    sample = (await anext(watch)).queue_stats
    assert {q.alias: q.depth for q in sample.queues} == {"input": 2, "output": 1}
    await watch.aclose()


async def test_counts_that_come_faster_are_put_together(wms: Process, mqs: FakeMqs):
    workflow_id = await wms.submit()
    watch = wms.watch(workflow_id)
    await snapshot_of(watch)
    for depth in range(1, 51):
        mqs.say((workflow_id, "input", depth))
    depths = [0]
    while depths[-1] != 50:
        depths.append((await anext(watch)).queue_stats.queues[0].depth)
    assert depths == sorted(depths)
    assert len(depths) < 10
    await watch.aclose()


async def test_one_stream_serves_all_watches_and_ends_with_the_last(wms: Process, mqs: FakeMqs):
    ids = [await wms.submit() for _ in range(3)]
    watches = [wms.watch(id_) for id_ in ids]
    for watch in watches:
        await snapshot_of(watch)
    while await mqs.asked.get() != sorted(ids):
        pass
    mqs.say(*((id_, "input", 7) for id_ in ids))
    for watch in watches:
        assert (await anext(watch)).queue_stats.queues[0].depth == 7
        await watch.aclose()
    again = wms.watch(ids[0])
    await snapshot_of(again)
    assert await mqs.asked.get() == [ids[0]]
    await again.aclose()


async def test_an_mqs_that_is_away_changes_nothing_for_revisions(database_url, mqs):
    async with asyncio.timeout(60), wms_process(await prepare(database_url)) as process:
        async with serving(mqs) as server:
            address = server.address
        async with relaying(process, address) as wms:
            workflow_id = await wms.submit()
            watch = wms.watch(workflow_id)
            await snapshot_of(watch)
            for priority in range(3):
                await wms.change(workflow_id, priority=priority)
                assert (await revision_of(watch)).revision == priority + 2
            async with serving(mqs, address):
                mqs.say((workflow_id, "input", 1))
                assert (await anext(watch)).queue_stats.queues[0].depth == 1
                await watch.aclose()
