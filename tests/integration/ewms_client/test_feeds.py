"""Watches over many workflows and taskforces, against a real WMS without peers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from ewms.wms.v1 import watch_pb2, workflow_pb2
from ewms_client import AsyncClient, Restarted
from ewms_postgres.migrations import upgrade
from wms_grpc.config import WmsSettings
from wms_grpc.server import MIGRATIONS, SCHEMA, wms_server

COPY = {
    "tasks": [
        {
            "cluster_locations": ["local"],
            "input_queue_aliases": ["input"],
            "output_queue_aliases": ["input"],
            "task_image": "/images/copy",
            "n_workers": 2,
        }
    ]
}


@asynccontextmanager
async def wms(database_url: str, listen: str = "127.0.0.1:0") -> AsyncIterator[str]:
    await upgrade(database_url, script_location=MIGRATIONS, schema=SCHEMA)
    settings = WmsSettings(database=database_url, listen=listen, mqs="127.0.0.1:1")
    async with wms_server(settings, database_url) as server:
        yield server.address


async def test_a_watch_over_workflows_sees_them_come_change_and_leave(database_url: str) -> None:
    async with wms(database_url) as address, AsyncClient(address) as client, asyncio.timeout(30):
        before = (await client.submit(COPY)).workflow.workflow_id
        after = token = ""
        seen: list[str] = []
        async with aclosing(client.watch_workflows("state = PENDING")) as events:
            async for event, resume_token in events:
                token = resume_token
                match event:
                    case watch_pb2.WorkflowsSnapshot():
                        seen += [f"there {workflow.workflow_id}" for workflow in event.workflows]
                        after = (await client.submit(COPY)).workflow.workflow_id
                    case watch_pb2.WorkflowRevision() if event.revision == 1:
                        seen.append(f"came {event.workflow_id}")
                        await client.abort(before)
                    case watch_pb2.WorkflowLeft():
                        seen.append(f"left {event.workflow_id}")
                        break
        assert seen == [f"there {before}", f"came {after}", f"left {before}"]

        await client.abort(after)
        resumed = client.watch_workflows("state = PENDING", resume_token=token)
        async with aclosing(resumed) as events:
            async for event, _ in events:
                assert not isinstance(event, Restarted | watch_pb2.WorkflowsSnapshot)
                if isinstance(event, watch_pb2.WorkflowLeft):
                    break
        assert event.workflow_id == after


async def test_a_watch_over_taskforces_resumes_by_its_token(database_url: str) -> None:
    async with wms(database_url) as address, AsyncClient(address) as client, asyncio.timeout(30):
        first = (await client.submit(COPY)).workflow.workflow_id
        async with aclosing(client.watch_taskforces()) as events:
            snapshot, token = await anext(events)
        assert isinstance(snapshot, watch_pb2.TaskforcesSnapshot)
        assert [taskforce.workflow_id for taskforce in snapshot.taskforces] == [first]

        second = (await client.submit(COPY)).workflow.workflow_id
        async with aclosing(client.watch_taskforces(resume_token=token)) as events:
            event, _ = await anext(events)

        assert isinstance(event, watch_pb2.TaskforcesRevision)
        assert event.workflow_id == second


async def test_a_watch_goes_on_without_a_gap_when_the_wms_is_replaced(database_url: str) -> None:
    revisions: list[int] = []
    state = workflow_pb2.WORKFLOW_STATE_UNSPECIFIED
    async with wms(database_url) as address:
        client = AsyncClient(address)
        workflow = (await client.submit(COPY)).workflow.workflow_id
        watch = client.watch(workflow)
        snapshot = await anext(watch)
        assert isinstance(snapshot, watch_pb2.WorkflowSnapshot)
        await client.update(workflow, priority=1)
    async with client, wms(database_url, address), asyncio.timeout(30):
        await client.update(workflow, priority=2)
        await client.finish(workflow)
        async for event in watch:
            assert not isinstance(event, Restarted)
            if isinstance(event, watch_pb2.WorkflowRevision):
                revisions.append(event.revision)
                for change in event.changes:
                    state = change.workflow.state or state

    assert revisions == list(range(snapshot.revision + 1, revisions[-1] + 1))
    assert state == workflow_pb2.WORKFLOW_STATE_FINISHED
