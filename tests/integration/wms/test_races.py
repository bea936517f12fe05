"""What may happen at the same time, or in the wrong order, and must not matter."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta

import grpc
import pytest
from scripted_agent import Agent, a_status, an_agent
from wms_stack import Phase, Stack, State, View, Wms, a_task, refused

from ewms.mqs.v1 import mqs_service_pb2 as mqs_pb2
from ewms.mqs.v1.mqs_service_pb2_grpc import MqsServiceStub
from ewms.wms.v1 import taskforce_pb2, taskforce_service_pb2
from ewms.wms.v1 import tms_service_pb2 as pb
from ewms_rpc.channel import open_channel
from wms_grpc.domain.ids import Mqid, WorkflowId
from wms_grpc.storage import lifecycle
from wms_grpc.storage.lifecycle import QueueState

_STEPS = (
    "pending",
    "granted",
    "pushed",
    "submitted",
    "running",
)


async def _reach(stack: Stack, wms: Wms, agent: Agent | None, step: str) -> str:
    """Submit a workflow and bring it to a step of its submission."""
    workflow_id = await wms.submit()
    if step == "pending":
        return workflow_id
    await wms.until(
        workflow_id, lambda view: view.phases == [Phase.TASKFORCE_PHASE_PENDING_STARTER]
    )
    if agent and step != "granted":
        start = await agent.start()
        if step != "pushed":
            cluster_id = await agent.submitted(start)
            if step == "running":
                status = a_status(start.taskforce.taskforce_uuid, cluster_id, 1, RUNNING=1)
                await agent.statuses(status)
    return workflow_id


@pytest.mark.parametrize("step", _STEPS)
async def test_a_finish_at_each_step_of_a_submission_leaves_nothing_behind(
    stack: Stack, step: str
) -> None:
    await stack.mqs()
    if step == "pending":
        await stack.stop_mqs()
    wms = await stack.wms()
    if step in ("pending", "granted"):
        workflow_id = await _reach(stack, wms, None, step)
        await wms.end("Finish", workflow_id)
    else:
        async with an_agent(wms) as agent:
            workflow_id = await _reach(stack, wms, agent, step)
            await wms.end("Finish", workflow_id)
            await agent.stops()
    if step == "pending":
        await stack.mqs()

    view = await wms.until_settled(workflow_id)

    assert view.state == State.WORKFLOW_STATE_FINISHED
    assert view.phases == [Phase.TASKFORCE_PHASE_CONDOR_COMPLETE]
    await wms.until_told(workflow_id, "released")
    late = mqs_pb2.RequestQueuesRequest(workflow_id=workflow_id)
    async with open_channel(stack.mqs_address) as channel, refused("FAILED_PRECONDITION"):
        await MqsServiceStub(channel).RequestQueues(late)


async def test_a_grant_that_comes_after_the_end_is_not_stored(wms: Wms) -> None:
    workflow_id = await wms.submit()
    view = await wms.until(
        workflow_id, lambda view: view.phases == [Phase.TASKFORCE_PHASE_PENDING_STARTER]
    )
    await wms.end("Finish", workflow_id)
    settled = await wms.until_settled(workflow_id)
    states = [QueueState(Mqid(queue.mqid), False, False) for queue in view.queues.values()]

    granted = await lifecycle.grant_queues(wms.server.store, WorkflowId(workflow_id), states)

    assert not granted
    assert await wms.get(workflow_id) == settled.workflow


async def test_two_servers_do_not_fill_the_same_room_at_one_location(stack: Stack) -> None:
    await stack.mqs()
    places = {"osg": {"schedd": "osg", "max_idle_workers": 10}}
    servers = [await stack.wms(cluster_locations=places) for _ in range(2)]

    workflow_ids = await asyncio.gather(
        *(servers[n % 2].submit(a_task(n_workers=4)) for n in range(12))
    )
    await asyncio.gather(*(servers[0].until(w, _was_considered) for w in workflow_ids))

    launched = taskforce_service_pb2.ListTaskforcesRequest(filter="phase = PENDING_STARTER")
    idle = [t.n_workers for t in (await servers[1].taskforces.ListTaskforces(launched)).taskforces]
    # 4 and 4 are fewer than 10, so a third one goes; nobody after it.
    assert sum(idle) == 12


def _was_considered(view: View) -> bool:
    return (
        view.phases == [Phase.TASKFORCE_PHASE_PENDING_STARTER]
        or "room at osg" in view.taskforce.waiting_reason
    )


async def test_what_was_pushed_and_never_submitted_is_stopped_by_its_agent(wms: Wms) -> None:
    workflow_id = await wms.submit()
    async with an_agent(wms) as agent:
        await agent.start()
        await wms.end("Abort", workflow_id)
        stop = await agent.stop()
        assert (await wms.get(workflow_id)).HasField("settled_time") is False

        assert not await agent.removed(stop)
        assert (await wms.get(workflow_id)).HasField("settled_time")
        assert await agent.removed(stop) is True  # a repeat has nothing more to do


async def test_a_cluster_that_is_reported_while_its_stop_is_under_way_is_stopped_by_name(
    wms: Wms,
) -> None:
    workflow_id = await wms.submit()
    async with an_agent(wms) as agent:
        start = await agent.start()
        await wms.end("Abort", workflow_id)
        blind = await agent.stop()
        assert not blind.HasField("cluster_id")

        cluster_id = await agent.submitted(start)
        assert await agent.removed(blind) is True
        by_name = await agent.stop()
        assert by_name.cluster_id == cluster_id
        assert not await agent.removed(by_name)
        await agent.completed(by_name.taskforce_uuid, cluster_id)

    assert (await wms.until_settled(workflow_id)).taskforce.cluster_id == cluster_id


async def test_a_cluster_that_is_reported_after_the_end_is_stopped_too(wms: Wms) -> None:
    workflow_id = await wms.submit()
    async with an_agent(wms) as agent:
        start = await agent.start()
        await wms.end("Abort", workflow_id)
        await agent.stops()
        settled = await wms.until_settled(workflow_id)

        cluster_id = await agent.submitted(start)
        assert agent.last_answer.is_stale
        stop = await agent.stop()
        assert (stop.taskforce_uuid, stop.cluster_id) == (
            start.taskforce.taskforce_uuid,
            cluster_id,
        )
        await agent.submitted(start, cluster_id=cluster_id)  # a repeat of the late report
        assert await agent.removed(stop) is True

    async with an_agent(wms) as again:
        # What is gone is not told to the next session: its first word is about a new workflow.
        await wms.submit()
        await again.start()
    assert (await wms.until_settled(workflow_id)).taskforce == settled.taskforce


async def test_a_stray_that_cannot_be_removed_is_told_to_the_next_session(wms: Wms) -> None:
    workflow_id = await wms.submit()
    async with an_agent(wms) as agent:
        start, own = await agent.runs()
        stray = await agent.submitted(start)
        assert agent.last_answer.is_stale
        assert (await agent.stop()).cluster_id == stray

    async with an_agent(wms) as again:
        stop = await again.stop()
        assert stop.cluster_id == stray
        await again.completed(stop.taskforce_uuid, stray)

    view = await wms.until(workflow_id, lambda view: True)
    assert view.taskforce.cluster_id == own
    assert view.phases == [Phase.TASKFORCE_PHASE_CONDOR_SUBMIT]


async def test_a_finish_whose_answer_is_lost_can_be_sent_again(wms: Wms) -> None:
    workflow_id = await wms.submit()
    async with an_agent(wms) as agent:
        await agent.runs()
        first = await wms.end("Finish", workflow_id, request_id="end")
        again = await wms.end("Finish", workflow_id, request_id="end")
        assert again.workflow == first.workflow
        assert again.n_taskforces == first.n_taskforces == 1
        await agent.stop()

    requests = [e for e in await wms.history(workflow_id) if e.what == "FinishWorkflow"]
    assert len(requests) == 1


async def test_two_who_end_a_workflow_at_once_end_it_once(wms: Wms) -> None:
    workflow_id = await wms.submit()

    ends = await asyncio.gather(
        wms.end("Finish", workflow_id), wms.end("Abort", workflow_id), return_exceptions=True
    )

    refusals = [end for end in ends if isinstance(end, grpc.aio.AioRpcError)]
    assert [error.code() for error in refusals] == [grpc.StatusCode.FAILED_PRECONDITION]


async def test_a_newer_stream_of_the_same_agent_takes_over_at_once(wms: Wms) -> None:
    await wms.submit()
    async with an_agent(wms) as older:
        first = await older.start()

        async with an_agent(wms) as newer:
            assert newer.session == older.session + 1
            end = await older.ended()
            assert end.code() is grpc.StatusCode.FAILED_PRECONDITION
            again = await newer.start()
            assert again.taskforce.taskforce_uuid == first.taskforce.taskforce_uuid
            assert again.attempt == first.attempt + 1


async def test_a_newer_stream_at_another_server_takes_over_too(stack: Stack) -> None:
    await stack.mqs()
    here, there = await stack.wms(), await stack.wms()
    async with an_agent(here) as older, an_agent(there) as newer:
        assert newer.session == older.session + 1
        await older.ended()
        await here.submit()
        await newer.start()


async def test_another_agent_waits_until_the_lease_has_ended(stack: Stack) -> None:
    await stack.mqs()
    wms = await stack.wms(agent_lease=timedelta(seconds=1))
    async with an_agent(wms, agent_id="first") as first:
        async with refused("FAILED_PRECONDITION") as refusal, an_agent(wms, agent_id="second"):
            pass
        assert "another agent" in refusal.error.message
        assert first.session == 1
    async with asyncio.timeout(20):
        assert await _session_once_free(wms, "second") == 2


async def _session_once_free(wms: Wms, agent_id: str) -> int:
    while True:
        with suppress(grpc.aio.AioRpcError):
            async with an_agent(wms, agent_id=agent_id) as agent:
                return agent.session


async def test_a_living_agent_keeps_its_lease(stack: Stack) -> None:
    await stack.mqs()
    wms = await stack.wms(agent_lease=timedelta(milliseconds=600))
    async with an_agent(wms, agent_id="first") as first:
        for _ in range(6):
            await first.lease()
            async with refused("FAILED_PRECONDITION"), an_agent(wms, agent_id="second"):
                pass


async def test_an_old_attempt_can_neither_fail_nor_void_a_new_one(wms: Wms) -> None:
    await wms.submit()
    async with an_agent(wms) as agent:
        old = await agent.start()
    async with an_agent(wms) as agent:
        new = await agent.start()
        assert new.attempt == old.attempt + 1

        assert await agent.failed(old, "too late", is_refusal=True) is True
        void = pb.StopAssignment(taskforce_uuid=old.taskforce.taskforce_uuid, attempt=old.attempt)
        assert await agent.removed(void) is True
        # The old attempt's cluster is the taskforce's, if it is the first that is reported.
        cluster_id = await agent.submitted(old)
        assert not agent.last_answer.is_stale
        second = await agent.submitted(new)
        assert agent.last_answer.is_stale
        assert (await agent.stop()).cluster_id == second

    assert (await wms.taskforce(new.taskforce.taskforce_uuid)).cluster_id == cluster_id


async def test_no_more_than_64_assignments_are_unanswered(stack: Stack) -> None:
    await stack.mqs()
    wms = await stack.wms(agent_lease=timedelta(seconds=3))
    await wms.submit(*(a_task() for _ in range(70)))
    async with an_agent(wms) as agent:
        starts = [await agent.start() for _ in range(64)]
        assert [start.attempt for start in starts] == [1] * 64
        # The lease is renewed after a round of pushes: had there been more, they would be here.
        await agent.lease()
        assert agent.arrived() == []

        await agent.submitted(starts[0])
        late = await agent.start()
        assert late.attempt == 1
        for start in starts[1:7]:
            await agent.submitted(start)
        rest = [await agent.start() for _ in range(5)]
    uuids = {start.taskforce.taskforce_uuid for start in (*starts, late, *rest)}
    assert len(uuids) == 70


async def test_a_lower_sequence_never_overwrites_a_higher_one(wms: Wms) -> None:
    await wms.submit()
    async with an_agent(wms) as agent:
        start, cluster_id = await agent.runs()
        uuid = start.taskforce.taskforce_uuid

        assert await agent.statuses(a_status(uuid, cluster_id, 5, RUNNING=1)) == [
            pb.STATUS_UPDATE_RESULT_UPDATED
        ]
        assert await agent.statuses(a_status(uuid, cluster_id, 4, IDLE=1)) == [
            pb.STATUS_UPDATE_RESULT_STALE
        ]
        # What says nothing new counts, too: 6 comes after 7 and is older than it.
        assert await agent.statuses(a_status(uuid, cluster_id, 7, RUNNING=1)) == [
            pb.STATUS_UPDATE_RESULT_UNCHANGED
        ]
        assert await agent.statuses(a_status(uuid, cluster_id, 6, IDLE=1)) == [
            pb.STATUS_UPDATE_RESULT_STALE
        ]
        assert set((await wms.taskforce(uuid)).compound_statuses) == {"RUNNING"}


async def test_a_bad_status_never_fails_the_others_of_its_batch(wms: Wms) -> None:
    await wms.submit(a_task(), a_task(), a_task())
    async with an_agent(wms) as agent:
        runs = [await agent.runs() for _ in range(3)]
        uuids = [start.taskforce.taskforce_uuid for start, _ in runs]
        clusters = [cluster_id for _, cluster_id in runs]
        nul = a_status(uuids[2], clusters[2], 1)
        nul.compound_statuses["RUN\0NING"].counts["Tasking"] = 1
        absurd = a_status(uuids[2], clusters[2], 1, RUNNING=2**31 - 1, HELD=2**31 - 1)

        results = await agent.statuses(
            a_status(uuids[0], clusters[0], 1, RUNNING=1),
            a_status(uuids[0], clusters[0], 3, RUNNING=1),
            a_status(uuids[0], clusters[0], 2, IDLE=1),
            a_status(uuids[1], clusters[1], 1, RUNNING=-1),
            a_status(uuids[1], clusters[1] + 99, 1, RUNNING=1),
            a_status("TF-1-00000000-0-0", 1, 1, RUNNING=1),
            a_status("no id at all", 1, 1, RUNNING=1),
            a_status("", 1, 1),
            a_status(uuids[1], clusters[1], 0, RUNNING=1),
            nul,
            absurd,
        )

    assert [
        pb.StatusUpdateResult.Name(r).removeprefix("STATUS_UPDATE_RESULT_") for r in results
    ] == [
        "STALE",
        "UPDATED",
        "STALE",
        "INVALID",
        "STALE",
        "NOT_FOUND",
        "NOT_FOUND",
        "INVALID",
        "INVALID",
        "INVALID",
        "UPDATED",
    ]
    assert set((await wms.taskforce(uuids[0])).compound_statuses) == {"RUNNING"}


async def test_a_taskforces_own_status_beside_one_of_another_cluster_is_taken(wms: Wms) -> None:
    await wms.submit()
    async with an_agent(wms) as agent:
        start, cluster_id = await agent.runs()
        uuid = start.taskforce.taskforce_uuid

        results = await agent.statuses(
            a_status(uuid, cluster_id, 1, RUNNING=1), a_status(uuid, cluster_id + 1, 9, IDLE=1)
        )

    assert results == [pb.STATUS_UPDATE_RESULT_UPDATED, pb.STATUS_UPDATE_RESULT_STALE]


async def test_reports_sent_twice_at_once_are_recorded_once(wms: Wms) -> None:
    workflow_id = await wms.submit()
    async with an_agent(wms) as agent:
        start = await agent.start()
        uuid = start.taskforce.taskforce_uuid
        await asyncio.gather(*(agent.submitted(start, cluster_id=7) for _ in range(4)))
        assert not agent.last_answer.is_stale
        outcome = taskforce_pb2.WorkerOutcome(signal=9, count=1)
        stale = await asyncio.gather(
            *(agent.completed(uuid, 7, outcomes=[outcome]) for _ in range(4))
        )
        assert stale == [False] * 4

    view = await wms.until(workflow_id, lambda view: True)
    targets = [entry.target_phase for entry in view.taskforce.phase_change_log]
    assert targets[-2:] == [
        Phase.TASKFORCE_PHASE_CONDOR_SUBMIT,
        Phase.TASKFORCE_PHASE_CONDOR_COMPLETE,
    ]
    assert len(targets) == 5


async def test_two_servers_drain_one_workflow_once(stack: Stack) -> None:
    await stack.mqs()
    here, there = await stack.wms(), await stack.wms()
    workflow_id = await here.submit(
        a_task(output_queue_aliases=["middle"]), a_task(input_queue_aliases=["middle"])
    )

    await there.close(workflow_id, "input")
    settled = await here.until_settled(workflow_id)

    assert settled.state == State.WORKFLOW_STATE_SUCCEEDED
    told = [(e.subject, e.what) for e in await there.history(workflow_id)]
    assert told.count(("input", "drained")) == told.count(("middle", "drained")) == 1
    assert sum(what == "done" for _, what in told) == 2
    assert sum(what == "SUCCEEDED" for _, what in told) == 1


async def test_a_commit_at_one_server_is_pushed_by_another(stack: Stack) -> None:
    await stack.mqs()
    here, there = await stack.wms(), await stack.wms()
    async with an_agent(there) as agent:
        workflow_id = await here.submit()
        _, cluster_id = await agent.runs()
        await here.end("Finish", workflow_id)
        assert (await agent.stops()).cluster_id == cluster_id
    await here.until_settled(workflow_id)
