"""More calls than connections to the database: the WMS's loops go on all the same."""

from __future__ import annotations

import asyncio

import asyncpg
import grpc
from wms_stack import PATIENCE, Stack, State, View

from ewms.wms.v1 import workflow_service_pb2
from ewms_rpc.errors import Unavailable, from_rpc_error

N_CONNECTIONS = 4
WAITING_FOR_LOCKS = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE application_name = 'ewms-wms' AND wait_event_type = 'Lock'"
)


async def test_a_workflow_goes_on_while_calls_hold_every_connection_that_they_may(
    stack: Stack,
) -> None:
    await stack.mqs()
    wms = await stack.wms(max_connections=N_CONNECTIONS)
    await stack.stop_mqs()
    stuck, waiting = await wms.submit(), await wms.submit()
    await wms.pause(stuck)
    request = workflow_service_pb2.WatchWorkflowRequest(workflow_id=waiting)
    watch = aiter(wms.workflows.WatchWorkflow(request))
    view = View()
    view.take(await anext(watch))

    blocker = await asyncpg.connect(stack.url)
    holding = blocker.transaction()
    await holding.start()
    await blocker.execute("SELECT FROM wms.workflow WHERE workflow_id = $1 FOR UPDATE", stuck)
    calls = [asyncio.ensure_future(wms.update(stuck, "name", name=str(n))) for n in range(40)]
    await _until_waiting(stack.url, N_CONNECTIONS - 1)
    await stack.mqs()
    async with asyncio.timeout(PATIENCE):
        while view.state != State.WORKFLOW_STATE_ACTIVE:
            view.take(await anext(watch))
    assert await blocker.fetchval(WAITING_FOR_LOCKS) == N_CONNECTIONS - 1

    await holding.rollback()
    await blocker.close()
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(outcome, BaseException):
            assert isinstance(outcome, grpc.aio.AioRpcError)
            error = from_rpc_error(outcome)
            assert isinstance(error, Unavailable)
            assert error.retry_after


async def _until_waiting(url: str, count: int) -> None:
    # PostgreSQL tells nobody who waits for a lock.
    connection = await asyncpg.connect(url)
    try:
        async with asyncio.timeout(PATIENCE):
            while await connection.fetchval(WAITING_FOR_LOCKS) != count:
                pass
    finally:
        await connection.close()
