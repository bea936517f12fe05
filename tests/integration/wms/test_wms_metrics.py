"""What an operator's Prometheus sees of a WMS."""

from __future__ import annotations

import asyncio

from scraping import scrape
from scripted_agent import an_agent
from wms_stack import Stack, a_task

from ewms.wms.v1 import taskforce_pb2
from ewms.wms.v1 import workflow_service_pb2 as pb
from wms_grpc.domain.model import Phase
from wms_grpc.storage.gauges import read_gauges


async def test_workflows_that_wait_and_what_their_process_does_are_shown(stack: Stack) -> None:
    wms = await stack.wms(metrics="127.0.0.1:0")
    workflow_id = await wms.submit()
    watch = wms.workflows.WatchWorkflow(pb.WatchWorkflowRequest(workflow_id=workflow_id))
    await anext(aiter(watch))
    found = await scrape(wms.server.metrics_address)
    assert found["ewms_wms_database_up"] == 1
    assert found["ewms_wms_workflows,PENDING"] == 1
    assert found["ewms_wms_oldest_pending_seconds"] > 0
    assert found["ewms_wms_taskforces,PRE_MQ_ACTIVATION"] == 1
    assert found["ewms_wms_watchers,workflow"] == 1
    # The submission, and that nobody grants its queues.
    assert found["ewms_wms_outbox_length"] in (0, 1, 2)
    assert found["ewms_wms_database_connections,limit"] == 8
    submit = "/ewms.wms.v1.WorkflowService/SubmitWorkflow"
    assert found[f"ewms_rpc_calls_total,OK,{submit}"] >= 1
    assert found[f"ewms_rpc_seconds_count,OK,{submit}"] >= 1
    assert found["ewms_rpc_open_streams,/ewms.wms.v1.WorkflowService/WatchWorkflow"] == 1
    watch.cancel()


async def test_assignments_that_no_agent_was_sent_and_leases_of_agents_are_told(
    stack: Stack,
) -> None:
    await stack.mqs()
    wms = await stack.wms()
    workflow_id = await wms.submit(a_task(n_workers=3))
    pending = taskforce_pb2.TASKFORCE_PHASE_PENDING_STARTER
    await wms.until(workflow_id, lambda view: view.phases == [pending])
    unsent = await read_gauges(wms.server.store.db)
    assert unsent["assignments"] == [(["osg", "unsent"], 1)]
    assert "agent_lease" not in unsent
    async with an_agent(wms) as agent:
        await agent.start()
        sent = await read_gauges(wms.server.store.db)
    assert sent["assignments"] == [(["osg", "unanswered"], 1)]
    ((labels, seconds),) = sent["agent_lease"]
    assert labels == ["osg"]
    assert seconds > 0


async def test_all_phases_in_which_a_taskforce_lives_are_counted(stack: Stack) -> None:
    wms = await stack.wms()
    gauges = await read_gauges(wms.server.store.db)
    told = {labels[0] for labels, _ in gauges["taskforces"]}
    assert told == {phase.value for phase in Phase if not phase.has_ended}


async def test_a_database_that_is_away_is_said_and_the_rest_is_served(stack: Stack) -> None:
    wms = await stack.wms(metrics="127.0.0.1:0")
    async with asyncio.TaskGroup() as group:
        transactions = [wms.server.store.db.transaction() for _ in range(6)]
        for transaction in transactions:
            group.create_task(transaction.__aenter__())
    try:
        found = await scrape(wms.server.metrics_address)
    finally:
        for transaction in transactions:
            await transaction.__aexit__(None, None, None)
    assert found["ewms_wms_database_up"] == 0
    # All that calls may have; what is left is for loops alone, and in use by them for moments.
    assert found["ewms_wms_database_connections,in_use"] >= 6
    assert "ewms_wms_workflows,PENDING" not in found
