"""A workflow says what its user should look at, for as long as that lasts."""

from __future__ import annotations

from typing import Any

import pytest
from queue_events import events_at
from scripted_agent import a_status, an_agent
from wms_stack import Stack, State, Wms, a_task, refused

from ewms.wms.v1 import tms_service_pb2 as pb
from ewms.wms.v1 import workflow_service_pb2
from ewms_rpc.errors import FailedPrecondition, NotFound
from wms_grpc.storage import statuses


async def dead_letters(wms: Wms, workflow_id: str, alias: str = "input") -> list[Any]:
    request = workflow_service_pb2.ListDeadLettersRequest(workflow_id=workflow_id, alias=alias)
    return list((await wms.workflows.ListDeadLetters(request)).dead_letters)


async def requeue(wms: Wms, workflow_id: str, *ids: str, alias: str = "input", **more: str) -> int:
    request = workflow_service_pb2.RequeueDeadLettersRequest(
        workflow_id=workflow_id, alias=alias, dead_letter_ids=ids, **more
    )
    return (await wms.workflows.RequeueDeadLetters(request)).n_requeued


def a_held_status(
    uuid: str, cluster_id: int, sequence: int, reason: str = "no input (code 13, subcode 2)"
) -> pb.StatusUpdate:
    update = a_status(uuid, cluster_id, sequence)
    update.compound_statuses[f"HELD: {reason}"].counts[""] = 1
    return update


async def test_dead_letters_are_told_of_until_they_are_put_back(wms: Wms) -> None:
    workflow_id = await wms.submit()
    async with an_agent(wms) as agent:
        start, _ = await agent.runs()
        async with events_at(start.mqs_address) as events:
            await events.spoil(start.queues[0], b"1", b"2", filename="a.dat")
            view = await wms.until(workflow_id, lambda view: view.queues["input"].n_dead == 2)
            assert list(view.workflow.attention) == [
                "queue input has 2 dead letters; list them, and put them back or leave them"
            ]
            first, second = await dead_letters(wms, workflow_id)
            assert dict(first.headers) == {"filename": "a.dat"}

            assert await requeue(wms, workflow_id, first.dead_letter_id) == 1
            fewer = await wms.until(workflow_id, lambda view: view.queues["input"].n_dead == 1)
            assert "1 dead letter;" in fewer.workflow.attention[0]
            assert await requeue(wms, workflow_id, second.dead_letter_id, request_id="once") == 1
            assert await requeue(wms, workflow_id, second.dead_letter_id, request_id="once") == 1
            none = await wms.until(workflow_id, lambda view: view.queues["input"].n_dead == 0)
            assert not none.workflow.attention


async def test_what_became_of_dead_letters_while_no_wms_was_there_is_learned_later(
    stack: Stack,
) -> None:
    await stack.mqs()
    gone = await stack.wms()
    workflow_id = await gone.submit()
    async with an_agent(gone) as agent:
        start, _ = await agent.runs()
    await stack.stop(gone)

    async with events_at(start.mqs_address) as events:
        await events.spoil(start.queues[0], b"bad")
    wms = await stack.wms()
    await wms.until(workflow_id, lambda view: view.queues["input"].n_dead == 1)
    await requeue(wms, workflow_id)
    view = await wms.until(workflow_id, lambda view: view.queues["input"].n_dead == 0)
    assert not view.workflow.attention


async def test_a_workflow_that_succeeds_still_says_which_events_did_not(wms: Wms) -> None:
    workflow_id = await wms.submit()
    async with an_agent(wms) as agent:
        start, _ = await agent.runs()
        async with events_at(start.mqs_address) as events:
            await events.spoil(start.queues[0], b"bad")
        await wms.close(workflow_id, "input")
        view = await wms.until(
            workflow_id,
            lambda view: view.state == State.WORKFLOW_STATE_SUCCEEDED and view.workflow.attention,
        )
        assert list(view.workflow.attention) == ["queue input ended with 1 dead letter; list them"]
        with_reason = refused("FAILED_PRECONDITION")
        async with with_reason:
            await requeue(wms, workflow_id)
        assert "drained" in str(with_reason.error)
        await agent.stops()
    settled = await wms.until_settled(workflow_id)
    assert len(settled.workflow.attention) == 1


async def test_ids_of_no_dead_letters_are_named_and_the_others_stay_dead(wms: Wms) -> None:
    workflow_id = await wms.submit()
    async with an_agent(wms) as agent:
        start, _ = await agent.runs()
        async with events_at(start.mqs_address) as events:
            await events.spoil(start.queues[0], b"bad")
    (letter,) = await dead_letters(wms, workflow_id)

    unknown = refused("NOT_FOUND")
    async with unknown:
        await requeue(wms, workflow_id, letter.dead_letter_id, "77777", "no number")

    assert isinstance(unknown.error, NotFound)
    assert unknown.error.resource_type == "dead letter"
    assert await dead_letters(wms, workflow_id) == [letter]


async def test_dead_letters_of_a_private_queue_can_be_read_after_its_workflow(wms: Wms) -> None:
    workflow_id = await wms.submit(
        a_task(output_queue_aliases=["middle"]), a_task(input_queue_aliases=["middle"])
    )
    async with an_agent(wms) as agent:
        starts = [await agent.runs() for _ in range(2)]
        async with events_at(starts[0][0].mqs_address) as events:
            await events.spoil(starts[0][0].queues[1], b"bad", filename="a.dat")
        await wms.end("Finish", workflow_id)
        for _ in starts:
            await agent.stops()
    await wms.until_told(workflow_id, "released")

    (letter,) = await dead_letters(wms, workflow_id, "middle")
    assert (letter.payload, dict(letter.headers)) == (b"bad", {"filename": "a.dat"})
    released = refused("FAILED_PRECONDITION")
    async with released:
        await requeue(wms, workflow_id, letter.dead_letter_id, alias="middle")
    assert isinstance(released.error, FailedPrecondition)
    assert "is released" in str(released.error)


async def test_a_removal_that_fails_is_told_of_with_its_last_error_until_it_works(
    wms: Wms,
) -> None:
    workflow_id = await wms.submit()
    async with an_agent(wms) as agent:
        start, cluster_id = await agent.runs()
        uuid = start.taskforce.taskforce_uuid
        await wms.end("Finish", workflow_id)
        for error in ("schedd is away", "schedd is full"):
            stop = await agent.stop()
            assert not await agent.not_removed(stop, error)
            assert list((await wms.get(workflow_id)).attention) == [
                f"taskforce {uuid} cannot be removed, and it is tried again: {error}"
            ]
        stop = await agent.stop()
        assert not await agent.removed(stop)
        assert not (await wms.get(workflow_id)).attention
        await agent.completed(uuid, cluster_id, attempt=stop.attempt)
    settled = await wms.until_settled(workflow_id)
    assert not settled.workflow.attention


async def test_a_task_is_told_of_while_all_its_workers_are_held(wms: Wms) -> None:
    workflow_id = await wms.submit()
    async with an_agent(wms) as agent:
        start, cluster_id = await agent.runs()
        uuid = start.taskforce.taskforce_uuid

        async def told(update: pb.StatusUpdate) -> list[str]:
            assert await agent.statuses(update) == [pb.STATUS_UPDATE_RESULT_UPDATED]
            return list((await wms.get(workflow_id)).attention)

        assert not await told(a_status(uuid, cluster_id, 1, RUNNING=1))
        assert await told(a_held_status(uuid, cluster_id, 2)) == [
            "all workers of task task-0 are held: no input (code 13, subcode 2)"
        ]
        assert await told(a_held_status(uuid, cluster_id, 3, "too large (code 34, subcode 0)")) == [
            "all workers of task task-0 are held: too large (code 34, subcode 0)"
        ]
        assert not await told(a_status(uuid, cluster_id, 4, IDLE=1))
        assert await told(a_held_status(uuid, cluster_id, 5))

        await wms.add_workers(start.taskforce.task_id)
        assert not (await wms.get(workflow_id)).attention
        added, added_cluster = await agent.runs()
        await agent.completed(added.taskforce.taskforce_uuid, added_cluster)
        assert "are held" in (await wms.get(workflow_id)).attention[0]
        await agent.completed(uuid, cluster_id)
        assert "no worker left" in (await wms.get(workflow_id)).attention[0]


async def test_workers_that_the_user_holds_are_told_of_once_he_does_no_longer(wms: Wms) -> None:
    workflow_id = await wms.submit()
    async with an_agent(wms) as agent:
        start, cluster_id = await agent.runs()
        await wms.pause(workflow_id, hold_running=True)
        await agent.statuses(a_held_status(start.taskforce.taskforce_uuid, cluster_id, 1))
        assert not (await wms.get(workflow_id)).attention
        await wms.resume(workflow_id)
        assert "are held" in (await wms.get(workflow_id)).attention[0]
        await wms.pause(workflow_id, hold_running=True)
        assert not (await wms.get(workflow_id)).attention


async def test_statuses_look_into_attention_only_where_workers_become_held_or_free(
    wms: Wms, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_into = []

    async def note(revisions: Any, workflow_id: str) -> None:
        looked_into.append(workflow_id)

    monkeypatch.setattr(statuses, "note_attention", note)
    workflow_id = await wms.submit()
    async with an_agent(wms) as agent:
        start, cluster_id = await agent.runs()
        uuid = start.taskforce.taskforce_uuid
        await agent.statuses(a_status(uuid, cluster_id, 1, IDLE=1))
        await agent.statuses(a_status(uuid, cluster_id, 2, RUNNING=1))
        assert looked_into == []
        await agent.statuses(a_held_status(uuid, cluster_id, 3))
        await agent.statuses(a_held_status(uuid, cluster_id, 4, "too large (code 34, subcode 0)"))
        assert looked_into == [workflow_id] * 2
        await agent.statuses(a_status(uuid, cluster_id, 5, RUNNING=1))
        await agent.statuses(a_status(uuid, cluster_id, 6, IDLE=1))
        assert looked_into == [workflow_id] * 3
