"""WatchWorkflow: what one watch sees, from its snapshot to its end."""

from __future__ import annotations

import asyncio

import pytest
from watched_wms import Process, prepare, revision_of, snapshot_of, wms_process

from wms_grpc.domain.errors import InvalidSubmission, NotFound, PositionLost
from wms_grpc.domain.ids import WorkflowId


@pytest.fixture
async def wms(database_url):
    async with asyncio.timeout(60), wms_process(await prepare(database_url)) as process:
        yield process


@pytest.fixture
async def other(database_url, wms):
    async with wms_process(database_url) as process:
        yield process


async def test_a_watch_shows_the_workflow_as_it_is_and_then_every_revision(wms: Process):
    workflow_id = await wms.submit()
    await wms.change(workflow_id, priority=60)
    watch = wms.watch(workflow_id)
    snapshot = await snapshot_of(watch)

    assert snapshot.revision == 2
    assert snapshot.workflow.priority == 60
    assert snapshot.feed_epoch
    assert [len(snapshot.task_directives), len(snapshot.taskforces), len(snapshot.queues)] == [
        1,
        2,
        1,
    ]

    await wms.change(workflow_id, priority=70)
    await wms.change_taskforces(workflow_id, waiting_reason="no room")
    first, second = await revision_of(watch), await revision_of(watch)

    assert (first.revision, first.changes[0].workflow.priority) == (3, 70)
    assert second.revision == 4
    assert [c.taskforce.waiting_reason for c in second.changes] == ["no room"] * 2
    await watch.aclose()


async def test_what_another_process_commits_arrives_as_well(wms: Process, other: Process):
    workflow_id = await wms.submit()
    watch = wms.watch(workflow_id)
    await snapshot_of(watch)
    for priority in (60, 61, 62):
        await other.change(workflow_id, priority=priority)
    await wms.change(workflow_id, priority=63)

    seen = [await revision_of(watch) for _ in range(4)]
    assert [r.revision for r in seen] == [2, 3, 4, 5]
    assert [r.changes[0].workflow.priority for r in seen] == [60, 61, 62, 63]
    await watch.aclose()


async def test_a_watch_resumes_behind_the_last_revision_seen(wms: Process):
    workflow_id = await wms.submit()
    for priority in range(10):
        await wms.change(workflow_id, priority=priority)
    watch = wms.watch(workflow_id, from_revision=4)
    assert [(await revision_of(watch)).revision for _ in range(7)] == list(range(5, 12))
    await wms.change(workflow_id, priority=99)
    assert (await revision_of(watch)).revision == 12
    await watch.aclose()


async def test_resuming_at_the_current_revision_waits_for_the_next(wms: Process):
    workflow_id = await wms.submit()
    watch = wms.watch(workflow_id, from_revision=1)
    waiting = asyncio.ensure_future(revision_of(watch))
    await asyncio.sleep(0)
    await wms.change(workflow_id, priority=1)
    assert (await waiting).revision == 2
    await watch.aclose()


async def test_a_watch_ends_once_the_workflow_has_settled(wms: Process):
    workflow_id = await wms.submit()
    watch = wms.watch(workflow_id)
    await snapshot_of(watch)
    await wms.settle(workflow_id)

    assert (await revision_of(watch)).changes[0].workflow.HasField("settled_time")
    with pytest.raises(StopAsyncIteration):
        await anext(watch)


async def test_a_watch_of_a_settled_workflow_ends_after_all_that_is_to_be_delivered(wms: Process):
    workflow_id = await wms.submit()
    await wms.settle(workflow_id)
    await wms.change(workflow_id, attention=("dead letters",))

    assert [m.WhichOneof("event") async for m in wms.watch(workflow_id)] == ["snapshot"]
    resumed = [m async for m in wms.watch(workflow_id, from_revision=1)]
    assert [m.revision.revision for m in resumed] == [2, 3]
    assert [m async for m in wms.watch(workflow_id, from_revision=3)] == []


async def test_a_watch_that_is_kept_open_goes_on_after_that(wms: Process):
    workflow_id = await wms.submit()
    await wms.settle(workflow_id)
    watch = wms.watch(workflow_id, keep_open=True)
    await snapshot_of(watch)
    await wms.change(workflow_id, attention=("dead letters",))
    assert (await revision_of(watch)).revision == 3
    await watch.aclose()


async def test_an_unknown_workflow_is_not_found(wms: Process):
    for fields in ({}, {"from_revision": 1}):
        with pytest.raises(NotFound):
            await anext(wms.watch(WorkflowId("WF-0-00000000"), **fields))


@pytest.mark.parametrize("seconds", [0.05, 3601])
async def test_a_checkpoint_interval_out_of_bounds_is_refused(wms: Process, seconds):
    workflow_id = await wms.submit()
    with pytest.raises(InvalidSubmission) as refused:
        await anext(wms.watch(workflow_id, checkpoints=seconds))
    assert [v.path for v in refused.value.violations] == ["checkpoint_interval"]


async def test_a_quiet_watch_gets_checkpoints(wms: Process):
    workflow_id = await wms.submit()
    watch = wms.watch(workflow_id, checkpoints=0.1)
    await snapshot_of(watch)
    assert (await anext(watch)).checkpoint.revision == 1
    await wms.change(workflow_id, priority=1)
    while (message := await anext(watch)).WhichOneof("event") == "checkpoint":
        assert message.checkpoint.revision == 1
    assert message.revision.revision == 2
    assert (await anext(watch)).checkpoint.revision == 2
    await watch.aclose()


async def test_a_revision_from_the_future_is_refused(wms: Process):
    workflow_id = await wms.submit()
    with pytest.raises(PositionLost):
        await anext(wms.watch(workflow_id, from_revision=2))


async def test_a_revision_of_another_feed_is_refused(wms: Process):
    workflow_id = await wms.submit()
    watch = wms.watch(workflow_id)
    epoch = (await snapshot_of(watch)).feed_epoch
    await watch.aclose()
    with pytest.raises(PositionLost):
        await anext(wms.watch(workflow_id, from_revision=1, feed_epoch="another"))
    await wms.change(workflow_id, priority=1)
    resumed = wms.watch(workflow_id, from_revision=1, feed_epoch=epoch)
    assert (await revision_of(resumed)).revision == 2
    await resumed.aclose()


async def test_watches_that_nobody_reads_any_more_leave_nothing_behind(wms: Process):
    workflow_id = await wms.submit()
    watches = [wms.watch(workflow_id) for _ in range(3)]
    for watch in watches:
        await snapshot_of(watch)
    await wms.change(workflow_id, priority=1)
    assert wms.feed.workflows.are_followed
    for watch in watches:
        await watch.aclose()
    assert not wms.feed.workflows.are_followed
    assert wms.feed.ring.bytes_held == 0
