"""A watch goes on by itself, and holds the server to its promises."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import grpc
import pytest
from client_fakes import ScriptedWms, Step, checkpoint, revision, serving, snapshot

from ewms.wms.v1 import watch_pb2, workflow_pb2
from ewms_client import (
    AsyncClient,
    NotFound,
    Restarted,
    RevisionGap,
    Unavailable,
    WaitTimeout,
    WatchEvent,
    WorkflowEnded,
)

Status = grpc.StatusCode


def seen(events: list[WatchEvent]) -> list[str]:
    """What came, in short: `s1` a snapshot, `r2` a revision, `c2` a checkpoint, `!` anew."""
    short = []
    for event in events:
        match event:
            case Restarted():
                short.append("!")
            case watch_pb2.WorkflowSnapshot():
                short.append(f"s{event.revision}")
            case watch_pb2.WorkflowRevision():
                short.append(f"r{event.revision}")
            case watch_pb2.Checkpoint():
                short.append(f"c{event.revision}")
    return short


async def watched(wms: ScriptedWms, **options: int) -> list[WatchEvent]:
    async with serving(wms) as address, AsyncClient(address) as client:
        return [event async for event in client.watch("WF-1", **options)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "broken_by", [Status.UNAVAILABLE, Status.RESOURCE_EXHAUSTED, Status.CANCELLED]
)
async def test_a_broken_watch_resumes_after_the_last_revision_seen(broken_by: Status) -> None:
    wms = ScriptedWms([snapshot(3), revision(4), broken_by], [revision(5), checkpoint(5)])

    assert seen(await watched(wms)) == ["s3", "r4", "r5", "c5"]
    assert wms.watches[1].from_revision == 4
    assert wms.watches[1].feed_epoch == "epoch-1"


async def test_a_watch_that_breaks_before_its_snapshot_is_whole_begins_again_with_one() -> None:
    wms = ScriptedWms([snapshot(3, is_last=False), Status.UNAVAILABLE], [snapshot(4)])

    assert seen(await watched(wms)) == ["s4"]
    assert not wms.watches[1].HasField("from_revision")


async def test_parts_are_put_together_and_come_once_even_if_the_stream_breaks_between() -> None:
    wms = ScriptedWms(
        [snapshot(1, is_last=False), snapshot(1), revision(2, is_last=False), Status.UNAVAILABLE],
        [revision(2, is_last=False), revision(2, is_last=False), revision(2)],
    )

    events = await watched(wms)

    assert seen(events) == ["s1", "r2"]
    assert isinstance(events[1], watch_pb2.WorkflowRevision)
    assert len(events[1].changes) == 3


@pytest.mark.parametrize(
    ("name", "script"),
    [
        ("a revision is missing", [snapshot(1), revision(3)]),
        ("a revision comes twice", [snapshot(2), revision(2)]),
        ("a part is followed by another revision", [snapshot(1), revision(2, is_last=False)]),
        ("a checkpoint runs ahead", [snapshot(1), checkpoint(2)]),
        ("no snapshot comes first", [revision(1)]),
    ],
)
async def test_a_broken_promise_is_an_error(name: str, script: list[Step]) -> None:
    wms = ScriptedWms([*script, revision(3)])

    with pytest.raises(RevisionGap):
        await watched(wms)


async def test_a_gap_over_a_resumption_is_an_error() -> None:
    wms = ScriptedWms([snapshot(1), Status.UNAVAILABLE], [revision(3)])

    with pytest.raises(RevisionGap, match="expected revision 2, received 3"):
        await watched(wms)


async def test_a_place_that_is_no_longer_kept_begins_anew_and_says_so() -> None:
    wms = ScriptedWms(
        [snapshot(1), Status.UNAVAILABLE], [Status.OUT_OF_RANGE], [snapshot(40), revision(41)]
    )

    events = await watched(wms)

    assert seen(events) == ["s1", "!", "s40", "r41"]
    assert events[1] == Restarted("scripted OUT_OF_RANGE")
    assert not wms.watches[2].HasField("from_revision")
    assert wms.watches[2].feed_epoch == ""


async def test_a_watch_from_a_revision_goes_on_after_it_without_a_snapshot() -> None:
    wms = ScriptedWms([revision(8)])

    assert seen(await watched(wms, from_revision=7)) == ["r8"]


async def test_an_error_that_another_attempt_cannot_mend_is_raised_at_once() -> None:
    with pytest.raises(NotFound):
        await watched(ScriptedWms([Status.NOT_FOUND]))


async def test_a_watch_survives_the_servers_death_and_its_restart_on_the_same_port() -> None:
    wms = ScriptedWms([snapshot(1), asyncio.Event()], [revision(2)])
    events = []
    async with serving(wms) as address:
        client = AsyncClient(address)
        watch = client.watch("WF-1")
        events.append(await anext(watch))
    async with client, serving(wms, port=int(address.rpartition(":")[2])):
        events += [event async for event in watch]

    assert seen(events) == ["s1", "r2"]


async def test_patience_ends() -> None:
    async with AsyncClient("127.0.0.1:1", patience=0.2) as client:
        with pytest.raises(Unavailable):
            await anext(client.watch("WF-1"))


async def test_waiting_ends_as_soon_as_the_state_is_there() -> None:
    wms = ScriptedWms(
        [
            snapshot(1, state=workflow_pb2.WORKFLOW_STATE_PENDING),
            revision(2, state=workflow_pb2.WORKFLOW_STATE_ACTIVE),
            asyncio.Event(),
        ]
    )
    async with serving(wms) as address, AsyncClient(address) as client:
        view = await client.wait_for("WF-1", workflow_pb2.WORKFLOW_STATE_ACTIVE)

    assert view.revision == 2


async def test_waiting_for_what_can_no_longer_come_ends_at_once() -> None:
    wms = ScriptedWms([snapshot(1, state=workflow_pb2.WORKFLOW_STATE_FAILED), asyncio.Event()])
    async with serving(wms) as address, AsyncClient(address) as client:
        with pytest.raises(WorkflowEnded, match="WF-1 is FAILED"):
            await client.wait_for("WF-1", workflow_pb2.WORKFLOW_STATE_ACTIVE)


async def test_waiting_has_an_end() -> None:
    wms = ScriptedWms([snapshot(1), asyncio.Event()])
    async with serving(wms) as address, AsyncClient(address) as client:
        with pytest.raises(WaitTimeout, match="the workflow is ACTIVE"):
            await client.wait_for("WF-1", lambda view: view.revision > 1, timeout=0.2)


async def test_leaving_a_watch_cancels_it_at_the_server() -> None:
    gone = asyncio.Event()

    class Noticing(ScriptedWms):
        async def WatchWorkflow(self, request, context):  # type: ignore[no-untyped-def]
            context.add_done_callback(lambda _: gone.set())
            yield snapshot(1)
            await asyncio.Event().wait()

    async with serving(Noticing()) as address, AsyncClient(address) as client:
        async with aclosing(client.watch("WF-1")) as events:
            await anext(events)
        async with asyncio.timeout(5):
            await gone.wait()
