"""A workflow's ways from its submission to its end, over real sockets, with a scripted agent."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial

import pytest
from queue_events import events_at
from scripted_agent import Agent, a_status, an_agent
from wms_stack import Phase, Stack, State, Wms, a_request, a_task, refused

from ewms.wms.v1 import taskforce_pb2
from ewms.wms.v1 import tms_service_pb2 as pb
from ewms_rpc.errors import AlreadyExists, FailedPrecondition

_ENDED = {"Finish": State.WORKFLOW_STATE_FINISHED, "Abort": State.WORKFLOW_STATE_ABORTED}


async def test_a_regular_run(wms: Wms) -> None:
    workflow_id = await wms.submit()
    async with an_agent(wms) as agent:
        start, cluster_id = await agent.runs()
        uuid = start.taskforce.taskforce_uuid
        assert start.attempt == 1
        assert start.owner == "local"
        assert [queue.alias for queue in start.queues] == ["input", "output"]
        assert all(queue.auth_token for queue in start.queues)
        assert start.pilot_credential

        assert await agent.statuses(a_status(uuid, cluster_id, 1, RUNNING=1)) == [1]
        running = await wms.until(
            workflow_id, lambda view: "RUNNING" in view.taskforce.compound_statuses
        )
        assert running.state == State.WORKFLOW_STATE_ACTIVE
        assert running.taskforce.cluster_id == cluster_id

        finished = await wms.end("Finish", workflow_id, reason="all results are there")
        assert finished.n_taskforces == 1
        assert finished.workflow.state == State.WORKFLOW_STATE_FINISHED
        stop = await agent.stops()
        assert (stop.taskforce_uuid, stop.cluster_id) == (uuid, cluster_id)

    view = await wms.until_settled(workflow_id)
    assert view.phases == [Phase.TASKFORCE_PHASE_CONDOR_COMPLETE]
    assert [
        (entry.target_phase, entry.was_successful) for entry in view.taskforce.phase_change_log
    ] == [(phase, True) for phase in range(1, 8)]
    assert [entry.source_entity for entry in view.taskforce.phase_change_log] == [
        "user local",
        "activation",
        "launch",
        "tms osg",
        "user local",
        "tms osg",
        "tms osg",
    ]


@pytest.mark.parametrize("reports_after", [False, True])
@pytest.mark.parametrize("how", ["Finish", "Abort"])
async def test_ended_before_the_submission_to_the_cluster(
    wms: Wms, how: str, reports_after: bool
) -> None:
    workflow_id = await wms.submit()
    async with an_agent(wms) as agent:
        start = await agent.start()

        ended = await wms.end(how, workflow_id)
        assert ended.n_taskforces == 1
        stop = await agent.stop()
        assert not stop.HasField("cluster_id")
        assert stop.attempt == start.attempt + 1
        if reports_after:
            late = a_status(stop.taskforce_uuid, 7, 1, RUNNING=1)
            assert await agent.statuses(late) == [pb.STATUS_UPDATE_RESULT_STALE]
        assert not await agent.removed(stop)

    view = await wms.until_settled(workflow_id)
    assert view.state == _ENDED[how]
    assert view.phases == [Phase.TASKFORCE_PHASE_CONDOR_COMPLETE]
    assert view.taskforce.phase_change_log[-1].context == "never submitted"


@pytest.mark.parametrize("how", ["Finish", "Abort"])
async def test_ended_before_any_agent_was_told(wms: Wms, how: str) -> None:
    workflow_id = await wms.submit()

    ended = await wms.end(how, workflow_id, reason="a mistake")

    assert ended.n_taskforces == 1
    assert ended.workflow.state == _ENDED[how]
    assert ended.workflow.state_reason == "a mistake"
    view = await wms.until_settled(workflow_id)
    assert view.taskforce.phase_change_log[-1].context == "never submitted"


@pytest.mark.parametrize("reports_after", [False, True])
@pytest.mark.parametrize("how", ["Finish", "Abort"])
async def test_ended_while_running(wms: Wms, how: str, reports_after: bool) -> None:
    workflow_id = await wms.submit()
    async with an_agent(wms) as agent:
        start, cluster_id = await agent.runs()
        uuid = start.taskforce.taskforce_uuid
        await agent.statuses(a_status(uuid, cluster_id, 1, RUNNING=1))

        await wms.end(how, workflow_id)
        if reports_after:
            last = a_status(uuid, cluster_id, 2, COMPLETED=1)
            assert await agent.statuses(last) == [pb.STATUS_UPDATE_RESULT_UPDATED]
        stop = await agent.stop()
        assert stop.cluster_id == cluster_id
        assert not await agent.removed(stop)
        removed = await wms.taskforce(uuid)
        assert removed.phase == Phase.TASKFORCE_PHASE_CONDOR_RM
        assert not await agent.completed(uuid, cluster_id)

    view = await wms.until_settled(workflow_id)
    assert view.state == _ENDED[how]
    assert view.phases == [Phase.TASKFORCE_PHASE_CONDOR_COMPLETE]
    assert set(view.taskforce.compound_statuses) == (
        {"COMPLETED"} if reports_after else {"RUNNING"}
    )


@pytest.mark.parametrize("reports_after", [False, True])
@pytest.mark.parametrize("how", ["Finish", "Abort"])
async def test_ended_after_completion(wms: Wms, how: str, reports_after: bool) -> None:
    workflow_id = await wms.submit()
    async with an_agent(wms) as agent:
        start, cluster_id = await agent.runs()
        uuid = start.taskforce.taskforce_uuid
        outcome = taskforce_pb2.WorkerOutcome(exit_code=0, count=1)
        await agent.completed(uuid, cluster_id, outcomes=[outcome])
        left = await wms.get(workflow_id)
        assert left.state == State.WORKFLOW_STATE_ACTIVE
        assert "no worker left" in left.attention[0]

        ended = await wms.end(how, workflow_id)
        assert ended.n_taskforces == 0
        assert ended.workflow.HasField("settled_time")
        assert not ended.workflow.attention
        if reports_after:
            late = a_status(uuid, cluster_id, 1, COMPLETED=1)
            assert await agent.statuses(late) == [pb.STATUS_UPDATE_RESULT_UPDATED]
        after = await wms.taskforce(uuid)

    assert after.phase == Phase.TASKFORCE_PHASE_CONDOR_COMPLETE
    assert list(after.outcomes) == [outcome]
    refused_stop = after.phase_change_log[-1]
    assert refused_stop.target_phase == Phase.TASKFORCE_PHASE_PENDING_STOPPER
    assert not refused_stop.was_successful
    assert ("COMPLETED" in after.compound_statuses) == reports_after


async def test_a_workflow_that_has_ended_is_not_ended_again_nor_steered(wms: Wms) -> None:
    workflow_id = await wms.submit()
    await wms.end("Abort", workflow_id)

    for call in (
        partial(wms.end, "Finish"),
        partial(wms.end, "Abort"),
        wms.pause,
        wms.resume,
        partial(wms.close, alias="input"),
        lambda ended: wms.update(ended, "name", name="new"),
    ):
        async with refused("FAILED_PRECONDITION") as refusal:
            await call(workflow_id)
        assert isinstance(refusal.error, FailedPrecondition)
        (violation,) = refusal.error.violations
        assert (violation.type, violation.subject) == ("WORKFLOW_ENDED", workflow_id)


async def test_workers_are_added_before_during_and_after(stack: Stack) -> None:
    await stack.mqs()
    await stack.stop_mqs()
    wms = await stack.wms()
    workflow_id = await wms.submit()
    (task_id,) = (await wms.until(workflow_id, lambda view: view.tasks)).tasks

    before = await wms.add_workers(task_id, 3, "sub-2")
    assert before.phase == Phase.TASKFORCE_PHASE_PRE_MQ_ACTIVATION
    assert (before.priority, before.n_workers, before.cluster_location) == (150, 3, "osg")

    await stack.mqs()
    async with an_agent(wms) as osg, an_agent(wms, "local") as local:
        first = await osg.start()
        second = await osg.start()
        assert [first.taskforce.n_workers, second.taskforce.n_workers] == [3, 1]

        during = await wms.add_workers(task_id, 2, "local")
        assert during.phase == Phase.TASKFORCE_PHASE_PRE_LAUNCH
        third = await local.start()
        assert third.taskforce.taskforce_uuid == during.taskforce_uuid
        assert third.taskforce.n_workers == 2

    assert (await wms.get(workflow_id)).n_taskforces == 3
    await wms.end("Finish", workflow_id)
    async with refused("FAILED_PRECONDITION"):
        await wms.add_workers(task_id)


async def test_a_task_at_two_cluster_locations_has_a_taskforce_at_each(wms: Wms) -> None:
    workflow_id = await wms.submit(a_task(cluster_locations=["local", "sub-2"], n_workers=5))
    async with an_agent(wms, "osg") as osg, an_agent(wms, "local") as local:
        for agent in (osg, local):
            start, _ = await agent.runs()
            assert start.taskforce.n_workers == 5
        await wms.until(
            workflow_id, lambda view: view.phases == [Phase.TASKFORCE_PHASE_CONDOR_SUBMIT] * 2
        )

        await wms.end("Finish", workflow_id)
        await osg.stops()
        assert not (await wms.get(workflow_id)).HasField("settled_time")
        await local.stops()

    await wms.until_settled(workflow_id)


async def test_three_refusals_fail_a_taskforce_and_the_last_taskforce_its_workflow(
    wms: Wms,
) -> None:
    workflow_id = await wms.submit(a_task(cluster_locations=["local", "osg"]))

    async def refuse_three_times(agent: Agent) -> None:
        for attempt in (1, 2, 3):
            start = await agent.start()
            assert start.attempt == attempt
            assert start.taskforce.n_refusals == attempt - 1
            assert not await agent.failed(start, "bad requirements", is_refusal=True)

    async with an_agent(wms, "osg") as osg, an_agent(wms, "local") as local:
        waiting = await local.start()
        await refuse_three_times(osg)
        half = await wms.until(
            workflow_id, lambda view: Phase.TASKFORCE_PHASE_FAILED in view.phases
        )
        assert half.state == State.WORKFLOW_STATE_ACTIVE

        await local.failed(waiting, "not authorised", is_refusal=True)
        for _ in range(2):
            await local.failed(await local.start(), "not authorised", is_refusal=True)
        failed = await wms.until_settled(workflow_id)

    assert failed.state == State.WORKFLOW_STATE_FAILED
    assert "not authorised" in failed.workflow.state_reason
    assert failed.phases == [Phase.TASKFORCE_PHASE_FAILED] * 2


async def test_a_failed_task_stops_what_runs_of_the_others(wms: Wms) -> None:
    workflow_id = await wms.submit(
        a_task(), a_task(cluster_locations=["local"], output_queue_aliases=[])
    )
    async with an_agent(wms, "osg") as osg, an_agent(wms, "local") as local:
        _, cluster_id = await osg.runs()
        for _ in range(3):
            await local.failed(await local.start(), "bad requirements", is_refusal=True)
        stop = await osg.stops()
        assert stop.cluster_id == cluster_id

    assert (await wms.until_settled(workflow_id)).state == State.WORKFLOW_STATE_FAILED


async def test_an_error_of_the_infrastructure_backs_off_and_does_not_count(wms: Wms) -> None:
    workflow_id = await wms.submit()
    async with an_agent(wms) as agent:
        assert not await agent.failed(await agent.start(), "schedd away")
        again = await agent.start()
        assert again.attempt == 2
        await agent.submitted(again)

    view = await wms.until(
        workflow_id, lambda view: view.phases == [Phase.TASKFORCE_PHASE_CONDOR_SUBMIT]
    )
    assert view.taskforce.n_refusals == 0
    failed, worked = view.taskforce.phase_change_log[-2:]
    assert (failed.target_phase, failed.was_successful, failed.context) == (
        Phase.TASKFORCE_PHASE_CONDOR_SUBMIT,
        False,
        "schedd away",
    )
    assert worked.was_successful


async def test_a_removal_that_fails_is_tried_again_until_it_works(wms: Wms) -> None:
    workflow_id = await wms.submit()
    async with an_agent(wms) as agent:
        _, cluster_id = await agent.runs()
        await wms.end("Abort", workflow_id)

        first = await agent.stop()
        assert not await agent.not_removed(first, "schedd away")
        second = await agent.stop()
        assert (second.cluster_id, second.attempt) == (cluster_id, first.attempt + 1)
        assert await agent.not_removed(first, "an answer that comes late")
        assert not await agent.removed(second)
        await agent.completed(second.taskforce_uuid, cluster_id)

    view = await wms.until_settled(workflow_id)
    failures = [
        entry.context for entry in view.taskforce.phase_change_log if not entry.was_successful
    ]
    assert failures == ["schedd away"]


async def test_a_paused_workflow_launches_nothing_more_while_others_go_on(wms: Wms) -> None:
    paused = await wms.submit(name="paused")
    await wms.until(paused, lambda view: view.state == State.WORKFLOW_STATE_ACTIVE)
    assert (await wms.pause(paused)).state == State.WORKFLOW_STATE_PAUSED
    assert (await wms.pause(paused)).state == State.WORKFLOW_STATE_PAUSED

    async with an_agent(wms) as agent:
        other = await wms.submit()
        assert (await agent.start()).taskforce.workflow_id == other
        assert agent.arrived() == []

        assert (await wms.resume(paused)).state == State.WORKFLOW_STATE_ACTIVE
        assert (await wms.resume(paused)).state == State.WORKFLOW_STATE_ACTIVE
        assert (await agent.start()).taskforce.workflow_id == paused


async def test_a_holding_pause_holds_what_runs_and_what_is_submitted_meanwhile(wms: Wms) -> None:
    workflow_id = await wms.submit(a_task(), a_task())
    async with an_agent(wms) as agent:
        _, running = await agent.runs()
        under_way = await agent.start()

        paused = await wms.pause(workflow_id, hold_running=True)
        assert paused.hold_running
        assert (await agent.next("hold")).cluster_id == running
        late = await agent.submitted(under_way)
        assert (await agent.next("hold")).cluster_id == late

        resumed = await wms.resume(workflow_id)
        assert not resumed.hold_running
        released = {(await agent.next("release")).cluster_id for _ in range(2)}
        assert released == {running, late}


async def test_what_is_held_is_told_to_the_next_session_too(wms: Wms) -> None:
    workflow_id = await wms.submit()
    async with an_agent(wms) as agent:
        _, cluster_id = await agent.runs()
        await wms.pause(workflow_id, hold_running=True)
        await agent.next("hold")

    async with an_agent(wms) as again:
        assert (await again.next("hold")).cluster_id == cluster_id


async def test_a_workflow_paused_before_its_grant_keeps_it_and_goes_on_with_it(
    stack: Stack,
) -> None:
    await stack.mqs()
    await stack.stop_mqs()
    wms = await stack.wms()
    workflow_id = await wms.submit()
    await wms.pause(workflow_id)
    assert (await wms.resume(workflow_id)).state == State.WORKFLOW_STATE_PENDING
    await wms.pause(workflow_id)

    await stack.mqs()
    granted = await wms.until(workflow_id, lambda view: view.workflow.HasField("active_time"))
    assert granted.state == State.WORKFLOW_STATE_PAUSED
    assert granted.phases == [Phase.TASKFORCE_PHASE_PRE_LAUNCH]

    assert (await wms.resume(workflow_id)).state == State.WORKFLOW_STATE_ACTIVE
    async with an_agent(wms) as agent:
        await agent.start()


async def test_a_new_priority_reorders_what_waits_for_room(stack: Stack) -> None:
    await stack.mqs()
    wms = await stack.wms(cluster_locations={"osg": {"schedd": "osg", "max_idle_workers": 1}})
    async with an_agent(wms) as agent:
        await wms.submit()
        start, cluster_id = await agent.runs()
        first, second = await wms.submit(name="first"), await wms.submit(name="second")
        for workflow_id in (first, second):
            waiting = await wms.until(
                workflow_id, lambda view: "room at osg" in view.taskforce.waiting_reason
            )
            assert waiting.phases == [Phase.TASKFORCE_PHASE_PRE_LAUNCH]

        raised = await wms.update(second, "priority", priority=60)
        assert raised.priority == 60
        await agent.statuses(a_status(start.taskforce.taskforce_uuid, cluster_id, 1, RUNNING=1))
        start, cluster_id = await agent.runs()
        assert start.taskforce.workflow_id == second
        assert start.taskforce.priority == 60

        await agent.completed(start.taskforce.taskforce_uuid, cluster_id)
        assert (await agent.start()).taskforce.workflow_id == first


async def test_added_workers_go_past_the_limit(stack: Stack) -> None:
    await stack.mqs()
    wms = await stack.wms(cluster_locations={"osg": {"schedd": "osg", "max_idle_workers": 1}})
    async with an_agent(wms) as agent:
        await wms.submit(a_task(n_workers=5))
        start = await agent.start()

        added = await wms.add_workers(start.task_directive.task_id, 7)

        assert (await agent.start()).taskforce.taskforce_uuid == added.taskforce_uuid


async def test_an_update_changes_what_its_mask_names_and_nothing_else(wms: Wms) -> None:
    workflow_id = await wms.submit(name="old", labels={"team": "ice"}, priority=30)

    renamed = await wms.update(workflow_id, "name", name="new", priority=99, labels={"a": "b"})
    assert (renamed.name, renamed.priority, dict(renamed.labels)) == ("new", 30, {"team": "ice"})

    await wms.update(workflow_id, "labels", "priority", priority=0)
    after = await wms.get(workflow_id)
    assert (after.name, after.priority, dict(after.labels)) == ("new", 0, {})


async def test_a_chain_whose_input_is_closed_drains_and_succeeds_by_itself(wms: Wms) -> None:
    workflow_id = await wms.submit(
        a_task(output_queue_aliases=["middle"]), a_task(input_queue_aliases=["middle"])
    )
    async with an_agent(wms) as agent:
        starts = [await agent.start(), await agent.start()]
        clusters = [await agent.submitted(start) for start in starts]
        assert [start.task_directive.name for start in starts] == ["task-0", "task-1"]
        (first, middle), (_, output) = (list(start.queues) for start in starts)
        async with events_at(starts[0].mqs_address) as events:
            await events.publish(first, b"one", b"two")
            assert (await wms.close(workflow_id, "input")).is_close_requested
            assert (await wms.close(workflow_id, "input")).is_close_requested
            await events.work(first, middle, 2)
            half = await wms.until(workflow_id, lambda view: view.queues["middle"].is_closed)
            assert [task.is_done for task in half.tasks.values()] == [True, False]
            await events.work(middle, output, 2)
            assert await events.read(output, 2) == {b"one", b"two"}
        done = await wms.until(
            workflow_id, lambda view: view.state == State.WORKFLOW_STATE_SUCCEEDED
        )
        assert all(task.is_done for task in done.tasks.values())
        assert not done.has_settled

        stopped = [await agent.stops() for _ in starts]
        assert {stop.cluster_id for stop in stopped} == set(clusters)
        settled = await wms.until_settled(workflow_id)
        assert settled.state == State.WORKFLOW_STATE_SUCCEEDED


async def test_workers_that_end_by_themselves_leave_nothing_to_look_at(wms: Wms) -> None:
    workflow_id = await wms.submit()
    async with an_agent(wms) as agent:
        start, cluster_id = await agent.runs()
        await agent.completed(start.taskforce.taskforce_uuid, cluster_id)
        assert (await wms.get(workflow_id)).attention

        await wms.close(workflow_id, "input")
        settled = await wms.until_settled(workflow_id)

    assert settled.state == State.WORKFLOW_STATE_SUCCEEDED
    assert not settled.workflow.attention


async def test_a_close_that_is_asked_for_before_the_grant_takes_effect_with_it(
    stack: Stack,
) -> None:
    await stack.mqs()
    await stack.stop_mqs()
    wms = await stack.wms()
    workflow_id = await wms.submit()
    queue = await wms.close(workflow_id, "input")
    assert queue.is_close_requested
    assert not queue.is_closed

    await stack.mqs()
    settled = await wms.until_settled(workflow_id)

    assert settled.state == State.WORKFLOW_STATE_SUCCEEDED
    assert settled.queues["input"].is_drained


async def test_only_public_queues_that_exist_can_be_closed(wms: Wms) -> None:
    workflow_id = await wms.submit(
        a_task(output_queue_aliases=["middle"]), a_task(input_queue_aliases=["middle"])
    )

    async with refused("FAILED_PRECONDITION"):
        await wms.close(workflow_id, "middle")
    async with refused("NOT_FOUND"):
        await wms.close(workflow_id, "nowhere")


async def test_try_again_later_keeps_a_workflow_pending_while_others_go_ahead(
    stack: Stack,
) -> None:
    await stack.mqs(max_queues_total=3, retry_after=timedelta(milliseconds=300))
    wms = await stack.wms()
    first = await wms.submit()
    await wms.until(first, lambda view: view.state == State.WORKFLOW_STATE_ACTIVE)

    large = await wms.submit(priority=90)
    pending = await wms.until(large, lambda view: view.workflow.HasField("retry_time"))
    assert pending.state == State.WORKFLOW_STATE_PENDING
    assert pending.workflow.pending_reason
    small = await wms.submit(a_task(output_queue_aliases=[]), public="input")
    await wms.until(small, lambda view: view.state == State.WORKFLOW_STATE_ACTIVE)
    assert (await wms.get(large)).state == State.WORKFLOW_STATE_PENDING

    await wms.end("Finish", first)
    active = await wms.until(large, lambda view: view.state == State.WORKFLOW_STATE_ACTIVE)
    assert not active.workflow.pending_reason
    assert not active.workflow.HasField("retry_time")


async def test_more_queues_than_the_mqs_ever_grants_fail_the_workflow(stack: Stack) -> None:
    await stack.mqs(max_queues_per_workflow=1)
    wms = await stack.wms()

    failed = await wms.until_settled(await wms.submit())

    assert failed.state == State.WORKFLOW_STATE_FAILED
    assert "refuses its queues" in failed.workflow.state_reason


async def test_a_workflow_submitted_while_the_mqs_is_away_starts_when_it_is_back(
    stack: Stack,
) -> None:
    await stack.mqs()
    await stack.stop_mqs()
    wms = await stack.wms()
    workflow_id = await wms.submit()
    waiting = await wms.until(
        workflow_id, lambda view: "does not answer" in view.workflow.pending_reason
    )
    assert waiting.state == State.WORKFLOW_STATE_PENDING
    assert not (await wms.public_queues(workflow_id))[0].is_activated

    await stack.mqs()
    async with an_agent(wms) as agent:
        await agent.start()
    queues = await wms.public_queues(workflow_id)
    assert all(queue.is_activated and queue.auth_token for queue in queues)
    assert len({queue.auth_token for queue in queues}) == 2

    await stack.stop_mqs()
    async with refused("UNAVAILABLE") as refusal:
        await wms.public_queues(workflow_id)
    assert refusal.error.retry_after


async def test_a_start_whose_tokens_cannot_be_minted_is_pushed_once_they_can(
    stack: Stack,
) -> None:
    await stack.mqs()
    wms = await stack.wms()
    workflow_id = await wms.submit()
    await wms.until(
        workflow_id, lambda view: view.phases == [Phase.TASKFORCE_PHASE_PENDING_STARTER]
    )
    await stack.stop_mqs()
    async with an_agent(wms) as agent:
        await stack.mqs()
        start = await agent.start()
        assert all(queue.auth_token for queue in start.queues)


async def test_a_repeated_request_id_answers_with_what_the_first_one_made(wms: Wms) -> None:
    first = await wms.submit(request_id="mine")
    rows = await wms.rows()

    assert await wms.submit(request_id="mine") == first
    async with refused("ALREADY_EXISTS") as refusal:
        await wms.submit(request_id="mine", name="another")
    assert isinstance(refusal.error, AlreadyExists)
    assert refusal.error.name == "mine"
    later = await wms.rows()
    assert (later["workflow"], later["request"]) == (rows["workflow"], rows["request"])

    ended = [await wms.end("Finish", first, request_id="end") for _ in range(2)]
    assert [answer.workflow.state for answer in ended] == [State.WORKFLOW_STATE_FINISHED] * 2
    async with refused("ALREADY_EXISTS"):
        await wms.end("Finish", first, request_id="end", reason="another")


async def test_repeats_at_the_same_time_make_one_of_everything(wms: Wms) -> None:
    workflow_ids = await asyncio.gather(*(wms.submit(request_id="one") for _ in range(8)))
    (workflow_id,) = set(workflow_ids)
    (task_id,) = (await wms.until(workflow_id, lambda view: view.tasks)).tasks

    added = await asyncio.gather(*(wms.add_workers(task_id, request_id="more") for _ in range(8)))

    assert len({taskforce.taskforce_uuid for taskforce in added}) == 1
    assert (await wms.get(workflow_id)).n_taskforces == 2


async def test_validate_only_shows_what_would_be_made_and_writes_nothing(lone_wms: Wms) -> None:
    before = await lone_wms.rows()

    shown = await lone_wms.workflows.SubmitWorkflow(
        a_request(validate_only=True, request_id="mine")
    )

    assert shown.workflow.n_tasks == 1
    assert len(shown.taskforces) == 1
    assert await lone_wms.rows() == before


async def test_above_a_thousand_tasks_the_lists_of_a_submission_stay_empty(
    lone_wms: Wms,
) -> None:
    for n_tasks, n_listed in ((1_000, 1_000), (1_001, 0)):
        submitted = await lone_wms.workflows.SubmitWorkflow(
            a_request(*(a_task() for _ in range(n_tasks)))
        )
        assert submitted.workflow.n_tasks == submitted.workflow.n_taskforces == n_tasks
        assert len(submitted.task_directives) == len(submitted.taskforces) == n_listed


async def test_the_history_tells_the_whole_story(wms: Wms) -> None:
    workflow_id = await wms.submit()
    async with an_agent(wms) as agent:
        start, cluster_id = await agent.runs()
        await agent.statuses(a_status(start.taskforce.taskforce_uuid, cluster_id, 1, RUNNING=1))
        await wms.end("Finish", workflow_id, reason="enough")
        await agent.stops()
    await wms.until_told(workflow_id, "released")

    entries = await wms.history(workflow_id)

    # The MQS tells of the queues that it closes for the release, before or after we note that.
    told = [(entry.what, entry.source) for entry in entries if entry.source != "mqs"]
    uuid = start.taskforce.taskforce_uuid
    assert told == [
        ("SubmitWorkflow", "user local"),
        ("ACTIVE", "activation"),
        ("PRE_LAUNCH", "activation"),
        ("PENDING_STARTER", "launch"),
        ("CONDOR_SUBMIT", "tms osg"),
        (f"statuses of {uuid}", "tms osg"),
        ("FinishWorkflow", "user local"),
        ("FINISHED", "user local"),
        ("PENDING_STOPPER", "user local"),
        ("CONDOR_RM", "tms osg"),
        ("CONDOR_COMPLETE", "tms osg"),
        ("released", "retirement"),
    ]
    assert [entry.revision for entry in entries] == sorted(entry.revision for entry in entries)
