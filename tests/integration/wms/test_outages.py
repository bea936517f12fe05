"""What the WMS depends on goes away and comes back; and the WMS itself goes away in good order."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import grpc
import pytest
from scripted_agent import a_status, an_agent
from wms_stack import PATIENCE, Phase, Stack, State, View, Wms, a_request, refused

from ewms.wms.v1 import workflow_service_pb2
from ewms.wms.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from ewms_postgres.embedded import embedded_postgres
from ewms_postgres.migrations import upgrade
from ewms_rpc.channel import open_channel
from ewms_rpc.errors import Unavailable, from_rpc_error
from wms_grpc.server import MIGRATIONS, SCHEMA

_EWMS = Path(sys.executable).with_name("ewms")


class Following:
    """A watch that is read all the time, whatever else goes on."""

    def __init__(self, wms: Wms, workflow_id: str) -> None:
        self.view = View()
        self._changed = asyncio.Condition()
        request = workflow_service_pb2.WatchWorkflowRequest(workflow_id=workflow_id)
        self._watch = wms.workflows.WatchWorkflow(request)
        self.ended = asyncio.create_task(self._follow())

    async def until_revision(self, revision: int) -> None:
        """Wait until the watch has come so far."""
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(lambda: self.view.revision >= revision)

    async def _follow(self) -> None:
        async for message in self._watch:
            async with self._changed:
                self.view.take(message)
                self._changed.notify_all()


class Postgres:
    """A PostgreSQL server as its operator sees it: stopped and started by another process."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    async def stop(self) -> None:
        await self._tell("stop")

    async def start(self) -> None:
        await self._tell("ensure_running")

    async def _tell(self, what: str) -> None:
        code = (
            "import sys; from pathlib import Path; from ewms_postgres.cluster import Cluster; "
            f"Cluster(Path(sys.argv[1])).{what}()"
        )
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, self._folder)
        assert await process.wait() == 0


@asynccontextmanager
async def _own_database() -> AsyncIterator[tuple[Stack, Postgres]]:
    """A stack on a PostgreSQL server of its own, which the test may stop and start."""
    with tempfile.TemporaryDirectory(prefix="ewms-test-") as folder:
        async with embedded_postgres(Path(folder)) as running:
            url = running.url("postgres")
            await upgrade(url, script_location=MIGRATIONS, schema=SCHEMA)
            stack = Stack(url)
            try:
                yield stack, Postgres(folder)
            finally:
                await stack.close()


async def test_everything_goes_on_after_an_outage_of_the_database() -> None:
    async with _own_database() as (stack, postgres):
        await stack.mqs()
        wms = await stack.wms()
        running = await wms.submit()
        following = Following(wms, running)
        async with an_agent(wms) as agent:
            start, cluster_id = await agent.runs()
            # Only now, since two grants at once come in either order.
            waiting = await wms.submit()
            uuid = start.taskforce.taskforce_uuid
            await agent.start()
            await agent.statuses(a_status(uuid, cluster_id, 1, RUNNING=1))
            before = (await wms.get(running)).revision
            await following.until_revision(before)

            await postgres.stop()
            for call in (wms.get(running), wms.submit(), wms.end("Finish", running)):
                async with refused("UNAVAILABLE") as refusal:
                    await call
                assert refusal.error.retry_after
                assert "database" in refusal.error.message
            async with refused("UNAVAILABLE") as refusal:
                await agent.statuses(a_status(uuid, cluster_id, 2, COMPLETED=1))

            await postgres.start()

        services = [workflow_service_pb2.DESCRIPTOR.services_by_name["WorkflowService"]]
        async with open_channel(wms.server.address, retried=services) as channel:
            patient = WorkflowServiceStub(channel)
            finish = workflow_service_pb2.FinishWorkflowRequest(workflow_id=running)
            await patient.FinishWorkflow(finish)
            await patient.SubmitWorkflow(a_request())
        async with an_agent(wms) as agent:
            assert (await agent.stops()).cluster_id == cluster_id
            told = {(await agent.start()).taskforce.workflow_id for _ in range(2)}
            assert waiting in told

        async with asyncio.timeout(PATIENCE):
            await following.ended
        assert following.view.revision > before
        assert following.view.state == State.WORKFLOW_STATE_FINISHED
        assert following.view.phases == [Phase.TASKFORCE_PHASE_CONDOR_COMPLETE]


async def test_a_server_that_drains_ends_its_streams_and_says_when_to_come_back(
    stack: Stack,
) -> None:
    await stack.mqs()
    wms = await stack.wms()
    workflow_id = await wms.submit()
    workflow = Following(wms, workflow_id)
    await workflow.until_revision(1)
    every = aiter(wms.workflows.WatchWorkflows(workflow_service_pb2.WatchWorkflowsRequest()))
    await anext(every)
    async with an_agent(wms) as agent:
        clock = asyncio.get_running_loop().time
        begun = clock()
        await stack.stop(wms)
        assert clock() - begun < 10

        assert isinstance(from_rpc_error(await agent.ended()), Unavailable)
    for reading in (workflow.ended, asyncio.ensure_future(_to_its_end(every))):
        with pytest.raises(grpc.aio.AioRpcError) as end:
            await reading
        error = from_rpc_error(end.value)
        assert isinstance(error, Unavailable)
        assert error.retry_after


async def _to_its_end(watch: AsyncIterator[object]) -> None:
    async for _ in watch:
        pass


async def test_a_call_in_flight_ends_before_its_server_does(stack: Stack) -> None:
    await stack.mqs()
    wms = await stack.wms()
    workflow_id = await wms.submit()
    await wms.until(workflow_id, lambda view: view.state == State.WORKFLOW_STATE_ACTIVE)
    blocker = await asyncpg.connect(stack.url)
    holding = blocker.transaction()
    await holding.start()
    await blocker.execute("SELECT * FROM wms.workflow FOR UPDATE")

    pausing = asyncio.ensure_future(wms.pause(workflow_id))
    await _someone_waits_for_a_lock(stack.url)
    stopping = asyncio.create_task(stack.stop(wms))
    await holding.rollback()
    await blocker.close()

    assert (await pausing).state == State.WORKFLOW_STATE_PAUSED
    await stopping


async def _someone_waits_for_a_lock(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        async with asyncio.timeout(PATIENCE):
            while not await connection.fetchval(
                "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"
            ):
                pass
    finally:
        await connection.close()


async def test_sigterm_ends_a_process_in_good_order(stack: Stack) -> None:
    environment = {"EWMS_WMS_DATABASE": stack.url, "EWMS_WMS_LISTEN": "127.0.0.1:0"}
    process = await asyncio.create_subprocess_exec(
        _EWMS, "wms", stdout=asyncio.subprocess.PIPE, env=os.environ | environment
    )
    assert process.stdout is not None
    async with asyncio.timeout(60):
        line = (await process.stdout.readline()).decode()
    assert line.startswith("listening on ")
    async with open_channel(line.split()[-1]) as channel:
        request = workflow_service_pb2.WatchWorkflowsRequest()
        watch = aiter(WorkflowServiceStub(channel).WatchWorkflows(request))
        await anext(watch)

        process.terminate()
        async with asyncio.timeout(10):
            assert await process.wait() == 0
        with pytest.raises(grpc.aio.AioRpcError) as end:
            await _to_its_end(watch)
    assert isinstance(from_rpc_error(end.value), Unavailable)
