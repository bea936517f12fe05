"""Where watches break elsewhere (etcd's record of faults), each tried on ours."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from watched_wms import (
    Process,
    WatchRequest,
    WatchResponse,
    prepare,
    revision_of,
    snapshot_of,
    wms_process,
)

from ewms.wms.v1 import workflow_service_pb2
from ewms_postgres.cluster import Cluster
from ewms_postgres.embedded import embedded_postgres
from ewms_postgres.errors import DatabaseUnavailable
from ewms_postgres.statements import statement
from ewms_rpc.channel import open_channel
from ewms_rpc.serving import RpcServer, ServerSettings, Service
from wms_grpc.api.errors import rpc_error
from wms_grpc.api.watch_workflow import watch_workflow
from wms_grpc.domain.errors import PositionLost
from wms_grpc.engine.feed import FeedSettings
from wms_grpc.engine.outbox import OutboxSettings
from wms_grpc.storage.outbox import compact, move_outbox

NOW = timedelta(0)
POSITIONS = statement(
    "SELECT position, workflow_id, revision FROM wms.feed_position ORDER BY position"
)


@pytest.fixture
def data_folder() -> Iterator[Path]:
    """A folder of its own: pytest closes its folders to others whenever a session begins."""
    with tempfile.TemporaryDirectory(prefix="ewms-test-") as folder:
        yield Path(folder)


@pytest.fixture
async def wms(database_url):
    async with asyncio.timeout(60), wms_process(await prepare(database_url)) as process:
        yield process


async def forget_all(wms: Process) -> None:
    """Compact everything that there is, in small steps."""
    while (await move_outbox(wms.db))[0]:
        pass
    while await compact(wms.db, NOW, limit=1):
        pass


async def test_compaction_at_the_resume_point_is_told_and_leaves_no_gap(wms: Process):
    workflow_id = await wms.submit()
    for priority in range(4):
        await wms.change(workflow_id, priority=priority)
    await forget_all(wms)

    for revision in range(1, 5):
        with pytest.raises(PositionLost):
            await anext(wms.watch(workflow_id, from_revision=revision))
    resumed = wms.watch(workflow_id, from_revision=5)
    await wms.change(workflow_id, priority=99)
    assert (await revision_of(resumed)).revision == 6
    await resumed.aclose()
    again = wms.watch(workflow_id, from_revision=5)
    assert (await revision_of(again)).revision == 6
    await again.aclose()


async def test_compaction_under_a_slow_watch_ends_it_and_leaves_no_gap(database_url):
    tiny = FeedSettings(ring_bytes=0)
    async with asyncio.timeout(60), wms_process(await prepare(database_url), tiny) as wms:
        workflow_id = await wms.submit()
        slow, resumed = wms.watch(workflow_id), wms.watch(workflow_id, from_revision=1)
        await snapshot_of(slow)
        for priority in range(4):
            await wms.change(workflow_id, priority=priority)
        await forget_all(wms)
        for watch in (slow, resumed):
            with pytest.raises(PositionLost):
                await anext(watch)


async def test_watches_that_resume_while_the_feed_is_compacted_see_all_or_are_refused(
    wms: Process,
):
    workflow_id = await wms.submit()
    for priority in range(30):
        await wms.change(workflow_id, priority=priority)
    while (await move_outbox(wms.db))[0]:
        pass
    refused = 0

    async def resume(revision: int) -> None:
        nonlocal refused
        watch = wms.watch(workflow_id, from_revision=revision)
        try:
            seen = [(await revision_of(watch)).revision for _ in range(31 - revision)]
            assert seen == list(range(revision + 1, 32))
        except PositionLost:
            refused += 1
        await watch.aclose()

    async with asyncio.TaskGroup() as tasks:
        for step in range(15):
            tasks.create_task(resume(2 * step + 1))
            await compact(wms.db, NOW, limit=1)
    await forget_all(wms)
    with pytest.raises(PositionLost):
        await anext(wms.watch(workflow_id, from_revision=1))


async def test_a_lost_notification_costs_time_and_never_a_revision(database_url):
    often = timedelta(seconds=0.2)
    quick = FeedSettings(poll_interval=often, outbox=OutboxSettings(poll_interval=often))
    url = await prepare(database_url)
    async with (
        asyncio.timeout(60),
        wms_process(url, quick, is_deaf=True) as deaf,
        wms_process(url) as other,
    ):
        workflow_id = await other.submit()
        one, every = deaf.watch(workflow_id), deaf.watch_workflows()
        await snapshot_of(one)
        assert (await anext(every)).HasField("snapshot")
        for priority in range(3):
            await other.change(workflow_id, priority=priority)
        assert [(await revision_of(one)).revision for _ in range(3)] == [2, 3, 4]
        assert [(await revision_of(every)).revision for _ in range(3)] == [2, 3, 4]
        await one.aclose()
        await every.aclose()


async def test_movers_in_several_processes_give_gap_free_positions_in_order(wms: Process):
    ids = [await wms.submit() for _ in range(3)]

    async def write(number: int) -> None:
        for step in range(20):
            await wms.change(*ids[: number + 1], name=f"{number}, {step}")

    writing = True

    async def move() -> None:
        while writing or (await move_outbox(wms.db, limit=3))[0]:
            await move_outbox(wms.db, limit=3)

    async with asyncio.TaskGroup() as tasks:
        movers = [tasks.create_task(move()) for _ in range(3)]
        async with asyncio.TaskGroup() as writers:
            for number in range(3):
                writers.create_task(write(number))
        writing = False
        await asyncio.wait(movers)
    rows = await wms.db.fetch(POSITIONS)
    assert [row["position"] for row in rows] == list(range(1, len(rows) + 1))
    for id_, n_revisions in zip(ids, (61, 41, 21), strict=True):
        of_workflow = [row["revision"] for row in rows if row["workflow_id"] == id_]
        assert of_workflow == list(range(1, n_revisions + 1))


async def test_what_is_too_large_for_one_message_comes_in_parts(wms: Process):
    workflow_id = await wms.submit(n_taskforces=9000)
    watch = wms.watch(workflow_id)
    whole, n_parts = None, 0
    while whole is None or not whole.is_last:
        message = await anext(watch)
        assert message.ByteSize() < 1.1 * 2**20
        whole = message.snapshot if whole is None else whole
        if n_parts:
            whole.MergeFrom(message.snapshot)
        n_parts += 1
    assert n_parts > 1
    assert len({t.taskforce_uuid for t in whole.taskforces}) == 9000

    await wms.change_taskforces(workflow_id, waiting_reason="no room" * 50)
    resumed = wms.watch(workflow_id, from_revision=1)
    for following in (watch, resumed):
        parts = [await revision_of(following)]
        while not parts[-1].is_last:
            parts.append(await revision_of(following))
        assert len(parts) > 1
        assert {part.revision for part in parts} == {2}
        assert sum(len(part.changes) for part in parts) == 9000
        await following.aclose()


async def test_watches_go_on_without_a_gap_after_a_restart_of_the_database(data_folder: Path):
    tiny = FeedSettings(ring_bytes=0)
    async with asyncio.timeout(90), embedded_postgres(data_folder) as running:
        url, cluster = await prepare(running.url("postgres")), Cluster(data_folder)
        async with wms_process(url) as one, wms_process(url, tiny) as two:
            workflow_id = await one.submit()
            watches = [p.watch(workflow_id) for p in (one, two)]
            globally = [p.watch_workflows() for p in (one, two)]
            for watch in watches:
                await snapshot_of(watch)
            for watch in globally:
                assert (await anext(watch)).HasField("snapshot")
            await one.change(workflow_id, priority=1)

            await asyncio.to_thread(cluster.stop)
            for process in (one, two):
                with pytest.raises(DatabaseUnavailable):
                    await process.change(workflow_id, priority=2)
            # Two watches wait for the database from within, in the middle of what they read.
            waiting = [asyncio.ensure_future(revision_of(w)) for w in watches]
            await asyncio.to_thread(cluster.ensure_running)
            for process in (one, two):
                await process.change(workflow_id, name=f"by {process.feed}")

            assert [(await first).revision for first in waiting] == [2, 2]
            for watch in watches:
                assert [(await revision_of(watch)).revision for _ in range(2)] == [3, 4]
            for watch in globally:
                assert [(await revision_of(watch)).revision for _ in range(3)] == [2, 3, 4]
            for watch in (*watches, *globally):
                await watch.aclose()


class Watched:
    """A WorkflowService with WatchWorkflow alone."""

    def __init__(self, process: Process) -> None:
        self._process = process
        for method in SERVICE.methods:
            if method.name == "WatchWorkflow":
                continue
            setattr(self, method.name, _stream if method.server_streaming else _unary)

    def WatchWorkflow(self, request: Any, context: Any) -> AsyncIterator[bytes]:
        process = self._process
        return watch_workflow(process.feed, process.store, process.stats, request)


async def _unary(request: Any, context: Any) -> Any:
    raise NotImplementedError


async def _stream(request: Any, context: Any) -> AsyncIterator[bytes]:
    raise NotImplementedError
    yield b""


SERVICE = workflow_service_pb2.DESCRIPTOR.services_by_name["WorkflowService"]


async def test_a_subscriber_that_takes_nothing_is_ended_and_can_resume(wms: Process):
    server = RpcServer(
        ServerSettings(write_timeout=0.5),
        [Service(SERVICE, Watched(wms))],
        error_table=rpc_error,
    )
    workflow_id = await wms.submit()
    async with server, open_channel(server.address) as channel:
        open_watch = channel.unary_stream(
            f"/{SERVICE.full_name}/WatchWorkflow",
            request_serializer=WatchRequest.SerializeToString,
            response_deserializer=WatchResponse.FromString,
        )
        starving = open_watch(WatchRequest(workflow_id=workflow_id))
        quick = open_watch(WatchRequest(workflow_id=workflow_id))
        assert (await quick.read()).snapshot.revision == 1
        newest = 1
        while wms.feed.workflows.count_followers() > 1:
            await wms.change(workflow_id, name="x" * 100_000 + str(newest))
            newest += 1
            assert (await quick.read()).revision.revision == newest

        seen: list[int] = []

        async def read_on() -> None:
            async for message in starving:
                seen.append(message.snapshot.revision or message.revision.revision)

        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await read_on()
        assert ended.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert seen == list(range(1, len(seen) + 1))
        assert len(seen) < newest

        resumed = open_watch(WatchRequest(workflow_id=workflow_id, from_revision=seen[-1]))
        for revision in range(seen[-1] + 1, newest + 1):
            assert (await resumed.read()).revision.revision == revision
        quick.cancel()
        resumed.cancel()
