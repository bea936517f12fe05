"""Nets of dependencies: tasks that wait, retry and recover, on a real database."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from scripted_agent import Agent, a_status, an_agent
from wms_stack import Stack, State, View, Wms, a_task, refused

from ewms.wms.v1 import task_pb2, taskforce_pb2, workflow_service_pb2
from ewms.wms.v1.task_kinds_pb2 import BatchSpec, NoopSpec, Recovery, TaskState, WaitSpec

SUCCEEDED = TaskState.TASK_STATE_SUCCEEDED
WAITING = TaskState.TASK_STATE_WAITING
RUNNING = TaskState.TASK_STATE_RUNNING
FAILED = TaskState.TASK_STATE_FAILED
SKIPPED = TaskState.TASK_STATE_SKIPPED


@pytest.fixture
async def wms(stack: Stack) -> Wms:
    """A WMS without an MQS: nets of other tasks than containers need none."""
    return await stack.wms()


def a_noop(name: str, *depends_on: str, **fields: Any) -> task_pb2.TaskSpec:
    return task_pb2.TaskSpec(name=name, depends_on=depends_on, noop=NoopSpec(), **fields)


def a_signal(name: str, *depends_on: str) -> task_pb2.TaskSpec:
    return task_pb2.TaskSpec(name=name, depends_on=depends_on, wait=WaitSpec(signal="go"))


def a_batch(name: str, *depends_on: str, **fields: Any) -> task_pb2.TaskSpec:
    given: dict[str, Any] = {
        "cluster_locations": ["osg"],
        "batch": BatchSpec(executable="/bin/true"),
    }
    return task_pb2.TaskSpec(name=name, depends_on=depends_on, **given | fields)


def states(view: View) -> dict[str, int]:
    return {task.name: task.state for task in view.tasks.values()}


async def submit(wms: Wms, *tasks: task_pb2.TaskSpec) -> str:
    request = workflow_service_pb2.SubmitWorkflowRequest(tasks=tasks)
    return (await wms.workflows.SubmitWorkflow(request)).workflow.workflow_id


async def signal(wms: Wms, workflow_id: str, task: str, name: str = "go") -> None:
    request = workflow_service_pb2.SignalTaskRequest(
        workflow_id=workflow_id, task=task, signal=name
    )
    await wms.workflows.SignalTask(request)


async def ends(agent: Agent, *, exit_code: int = 0) -> str:
    """Run the next batch task to its end; return its name."""
    start, cluster_id = await agent.runs()
    outcome = taskforce_pb2.WorkerOutcome(exit_code=exit_code, count=start.taskforce.n_workers)
    await agent.completed(
        start.taskforce.taskforce_uuid, cluster_id, attempt=start.attempt, outcomes=[outcome]
    )
    return start.task_directive.name


async def test_a_diamond_of_nothing_succeeds_by_itself(wms: Wms) -> None:
    workflow_id = await submit(
        wms,
        a_noop("father"),
        a_noop("son1", "father"),
        a_noop("son2", "father"),
        a_noop("final", "son1", "son2"),
    )

    view = await wms.until_settled(workflow_id)

    assert view.state == State.WORKFLOW_STATE_SUCCEEDED
    assert set(states(view).values()) == {SUCCEEDED}
    told = [entry.subject for entry in await wms.history(workflow_id) if entry.what == "succeeded"]
    assert told[0].endswith("-0")
    assert told[-1].endswith("-3")


async def test_a_task_starts_when_the_last_of_those_that_it_waits_for_has_ended(wms: Wms) -> None:
    workflow_id = await submit(wms, a_signal("a"), a_signal("b"), a_noop("c", "a", "b"))
    await wms.until(workflow_id, lambda view: states(view)["b"] == RUNNING)

    await signal(wms, workflow_id, "a")
    view = await wms.until(workflow_id, lambda view: states(view)["a"] == SUCCEEDED)
    assert states(view)["c"] == WAITING
    await signal(wms, workflow_id, "b")

    assert (await wms.until_settled(workflow_id)).state == State.WORKFLOW_STATE_SUCCEEDED


async def test_a_signal_that_comes_early_is_kept(wms: Wms) -> None:
    workflow_id = await submit(wms, a_signal("first"), a_signal("second", "first"))

    await signal(wms, workflow_id, "second")
    await signal(wms, workflow_id, "second")
    await signal(wms, workflow_id, "first")

    assert (await wms.until_settled(workflow_id)).state == State.WORKFLOW_STATE_SUCCEEDED


async def test_a_signal_that_nobody_waits_for_is_refused(wms: Wms) -> None:
    workflow_id = await submit(wms, a_signal("first"), a_noop("second", "first"))

    async with refused("NOT_FOUND"):
        await signal(wms, workflow_id, "third")
    async with refused("FAILED_PRECONDITION"):
        await signal(wms, workflow_id, "second")
    async with refused("FAILED_PRECONDITION"):
        await signal(wms, workflow_id, "first", "other")


async def test_a_timer_ends_by_itself(wms: Wms) -> None:
    wait = WaitSpec()
    wait.duration.FromMilliseconds(50)
    workflow_id = await submit(
        wms, task_pb2.TaskSpec(name="pause", wait=wait), a_noop("b", "pause")
    )

    assert (await wms.until_settled(workflow_id)).state == State.WORKFLOW_STATE_SUCCEEDED


async def test_batch_tasks_run_in_their_order_each_once(wms: Wms) -> None:
    async with an_agent(wms) as agent:
        workflow_id = await submit(
            wms, a_batch("c", "b"), a_batch("b", "a"), a_batch("a"), a_batch("d", "c")
        )
        order = [await ends(agent) for _ in range(4)]
        view = await wms.until_settled(workflow_id)

    assert order == ["a", "b", "c", "d"]
    assert view.state == State.WORKFLOW_STATE_SUCCEEDED
    assert len(view.taskforces) == 4


async def test_what_depends_on_a_failed_task_does_not_run_and_the_rest_does(wms: Wms) -> None:
    async with an_agent(wms) as agent:
        workflow_id = await submit(
            wms, a_batch("bad"), a_noop("behind", "bad"), a_signal("other"), a_noop("far", "other")
        )
        await ends(agent, exit_code=3)
        await wms.until(workflow_id, lambda view: states(view)["bad"] == FAILED)
        await signal(wms, workflow_id, "other")
        view = await wms.until_settled(workflow_id)

    assert view.state == State.WORKFLOW_STATE_FAILED
    assert states(view) == {"bad": FAILED, "behind": WAITING, "other": SUCCEEDED, "far": SUCCEEDED}
    assert view.workflow.state_reason == "bad (1 proc ended with exit code 3)"


async def test_a_task_is_tried_again_as_often_as_it_says(wms: Wms) -> None:
    async with an_agent(wms) as agent:
        workflow_id = await submit(wms, a_batch("flaky", recovery=Recovery(max_tries=3)))
        for exit_code in (1, 1, 0):
            await ends(agent, exit_code=exit_code)
        view = await wms.until_settled(workflow_id)

    assert view.state == State.WORKFLOW_STATE_SUCCEEDED
    (task,) = view.tasks.values()
    assert task.n_tries == 3


async def test_a_retry_is_for_what_it_helps_against(wms: Wms) -> None:
    recovery = Recovery(max_tries=5, retry_on=["exit:75"], never_on=[1])
    async with an_agent(wms) as agent:
        workflow_id = await submit(wms, a_batch("flaky", recovery=recovery))
        await ends(agent, exit_code=75)
        await ends(agent, exit_code=1)
        view = await wms.until_settled(workflow_id)

    assert view.state == State.WORKFLOW_STATE_FAILED
    assert [task.n_tries for task in view.tasks.values()] == [2]


async def test_a_skipped_failure_lets_the_others_go_on(wms: Wms) -> None:
    async with an_agent(wms) as agent:
        workflow_id = await submit(
            wms, a_batch("bad", recovery=Recovery(skip=True)), a_noop("behind", "bad")
        )
        await ends(agent, exit_code=3)
        view = await wms.until_settled(workflow_id)

    assert view.state == State.WORKFLOW_STATE_SUCCEEDED
    assert states(view) == {"bad": SKIPPED, "behind": SUCCEEDED}


async def test_a_fallback_stands_in_for_the_task_that_failed(wms: Wms) -> None:
    async with an_agent(wms) as agent:
        workflow_id = await submit(
            wms,
            a_batch("bad", recovery=Recovery(fallback_task="other")),
            a_noop("behind", "bad"),
            a_batch("other"),
        )
        assert await ends(agent, exit_code=3) == "bad"
        assert await ends(agent) == "other"
        view = await wms.until_settled(workflow_id)

    assert view.state == State.WORKFLOW_STATE_SUCCEEDED
    assert states(view) == {"bad": SKIPPED, "behind": SUCCEEDED, "other": SUCCEEDED}


async def test_a_compensation_runs_and_the_failure_stands(wms: Wms) -> None:
    async with an_agent(wms) as agent:
        workflow_id = await submit(
            wms,
            a_batch("bad", recovery=Recovery(compensate_with="tidy")),
            a_noop("behind", "bad"),
            a_batch("tidy"),
        )
        await ends(agent, exit_code=3)
        assert await ends(agent) == "tidy"
        view = await wms.until_settled(workflow_id)

    assert view.state == State.WORKFLOW_STATE_FAILED
    assert states(view) == {"bad": FAILED, "behind": WAITING, "tidy": SUCCEEDED}


async def test_a_recovery_that_nobody_needs_never_runs(wms: Wms) -> None:
    async with an_agent(wms) as agent:
        workflow_id = await submit(
            wms, a_batch("good", recovery=Recovery(fallback_task="other")), a_batch("other")
        )
        assert await ends(agent) == "good"
        view = await wms.until_settled(workflow_id)

    assert view.state == State.WORKFLOW_STATE_SUCCEEDED
    assert states(view)["other"] == WAITING


async def test_a_share_of_the_procs_can_be_enough(wms: Wms) -> None:
    batch = BatchSpec(executable="/bin/x", n_procs=10)
    batch.success.share = 0.8
    async with an_agent(wms) as agent:
        workflow_id = await submit(wms, a_batch("many", batch=batch))
        start, cluster_id = await agent.runs()
        assert start.taskforce.n_workers == 10
        outcomes = [
            taskforce_pb2.WorkerOutcome(exit_code=0, count=8),
            taskforce_pb2.WorkerOutcome(signal=9, count=2),
        ]
        await agent.completed(start.taskforce.taskforce_uuid, cluster_id, outcomes=outcomes)
        view = await wms.until_settled(workflow_id)

    assert view.state == State.WORKFLOW_STATE_SUCCEEDED


async def test_nothing_new_fires_while_a_net_is_paused(wms: Wms) -> None:
    workflow_id = await submit(wms, a_signal("a"), a_noop("b", "a"))
    await wms.until(workflow_id, lambda view: states(view)["a"] == RUNNING)

    await wms.pause(workflow_id)
    await signal(wms, workflow_id, "a")
    view = await wms.until(workflow_id, lambda view: states(view)["a"] == SUCCEEDED)
    assert states(view)["b"] == WAITING
    assert view.state == State.WORKFLOW_STATE_PAUSED
    await wms.resume(workflow_id)

    assert (await wms.until_settled(workflow_id)).state == State.WORKFLOW_STATE_SUCCEEDED


async def test_an_abort_stops_the_net_and_what_runs(wms: Wms) -> None:
    async with an_agent(wms) as agent:
        workflow_id = await submit(
            wms, a_batch("long"), a_noop("behind", "long"), a_signal("never")
        )
        await agent.runs()
        await wms.end("Abort", workflow_id)
        await agent.stops()
        view = await wms.until_settled(workflow_id)

    assert view.state == State.WORKFLOW_STATE_ABORTED
    assert states(view) == {
        "long": TaskState.TASK_STATE_STOPPED,
        "behind": WAITING,
        "never": TaskState.TASK_STATE_STOPPED,
    }


async def test_bad_nets_are_refused_with_every_violation_and_write_nothing(wms: Wms) -> None:
    before = await wms.rows()
    async with refused("INVALID_ARGUMENT") as refusal:
        await submit(
            wms,
            a_noop("a", "nobody"),
            a_noop("b", "b"),
            a_batch("c", recovery=Recovery(fallback_task="c")),
            a_batch("d", cluster_locations=[]),
            a_noop("e", cluster_locations=["osg"]),
        )

    assert refusal.paths == {
        "tasks[0].depends_on[0]",
        "tasks[1].depends_on[0]",
        "tasks[2].recovery.fallback_task",
        "tasks[3].cluster_locations",
        "tasks[4].cluster_locations",
    }
    assert await wms.rows() == before


async def test_tasks_that_wait_for_one_another_in_a_circle_are_named(wms: Wms) -> None:
    async with refused("INVALID_ARGUMENT") as refusal:
        await submit(wms, a_noop("free"), a_noop("a", "b", "free"), a_noop("b", "a"))

    assert "in a circle, or for such: a, b" in str(refusal.error)


async def test_two_engines_share_a_net_of_hundreds_of_tasks(stack: Stack) -> None:
    servers = [await stack.wms() for _ in range(2)]
    layers = [[f"t{layer}-{n}" for n in range(20)] for layer in range(15)]
    tasks = [a_noop(name) for name in layers[0]]
    for above, below in pairwise(layers):
        tasks += [a_noop(name, *above) for name in below]
    workflow_ids = await asyncio.gather(*(submit(servers[n % 2], *tasks) for n in range(4)))

    for workflow_id in workflow_ids:
        view = await servers[0].until_settled(workflow_id)
        assert view.state == State.WORKFLOW_STATE_SUCCEEDED
        assert len(states(view)) == 300
        assert all(task.n_tries == 1 for task in view.tasks.values())


async def test_a_container_task_whose_events_are_all_gone_before_its_turn_is_done(
    stack: Stack,
) -> None:
    await stack.mqs()
    wms = await stack.wms()
    workflow_id = await wms.submit(
        a_task(name="late", depends_on=["first"]), a_signal("first"), a_noop("last", "late")
    )
    await wms.until(workflow_id, lambda view: states(view)["first"] == RUNNING)
    await wms.close(workflow_id, "input")
    await wms.until(workflow_id, lambda view: view.queues["input"].is_drained)
    await signal(wms, workflow_id, "first")

    view = await wms.until_settled(workflow_id)

    assert view.state == State.WORKFLOW_STATE_SUCCEEDED
    assert set(states(view).values()) == {SUCCEEDED}
    assert not view.taskforces


async def test_a_job_that_is_held_is_told_to_its_user(wms: Wms) -> None:
    async with an_agent(wms) as agent:
        workflow_id = await submit(wms, a_batch("greedy"))
        start, cluster_id = await agent.runs()
        await agent.statuses(
            a_status(start.taskforce.taskforce_uuid, cluster_id, 1, **{"HELD: too much memory": 1})
        )
        view = await wms.until(workflow_id, lambda view: view.workflow.attention)

    assert "greedy" in view.workflow.attention[0]
    assert "too much memory" in view.workflow.attention[0]


async def test_a_container_task_fires_when_what_it_waits_for_is_done(stack: Stack) -> None:
    await stack.mqs()
    wms = await stack.wms()
    async with an_agent(wms) as agent:
        workflow_id = await wms.submit(
            a_task(name="simulate", depends_on=["prepare"]), a_batch("prepare")
        )
        view = await wms.until(workflow_id, lambda view: states(view)["prepare"] == RUNNING)
        assert [t.task_id for t in view.taskforces.values()] == [
            task.task_id for task in view.tasks.values() if task.name == "prepare"
        ]
        assert await ends(agent) == "prepare"
        start, _ = await agent.runs()
        assert start.task_directive.name == "simulate"
        await wms.close(workflow_id, "input")
        view = await wms.until(workflow_id, lambda view: states(view)["simulate"] == SUCCEEDED)
        await agent.stops()
        view = await wms.until_settled(workflow_id)

    assert view.state == State.WORKFLOW_STATE_SUCCEEDED
