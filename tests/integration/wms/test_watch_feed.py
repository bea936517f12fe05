"""WatchWorkflows and WatchTaskforces: entering, changing, leaving, and going on by a token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from watched_wms import Process, prepare, wms_process

from ewms.wms.v1 import taskforce_pb2
from ewms_postgres.statements import statement
from wms_grpc.domain.errors import InvalidSubmission, PositionLost
from wms_grpc.domain.model import Phase
from wms_grpc.storage.feed import renew_epoch
from wms_grpc.storage.outbox import compact

OUTBOX = statement("SELECT count(*) FROM wms.outbox")
STOP_MOVING = statement("SELECT 1 FROM wms.feed_state FOR UPDATE")


@pytest.fixture
async def wms(database_url):
    async with asyncio.timeout(60), wms_process(await prepare(database_url)) as process:
        yield process


@pytest.fixture
async def other(database_url, wms):
    async with wms_process(database_url) as process:
        yield process


async def snapshot_of(watch: AsyncIterator[Any]) -> tuple[Any, str]:
    """Return the whole snapshot with which the watch begins, and its token."""
    whole = None
    while True:
        message = await anext(watch)
        assert message.WhichOneof("event") == "snapshot", message
        if whole is None:
            whole = message.snapshot
        else:
            whole.MergeFrom(message.snapshot)
        if message.snapshot.is_last:
            return whole, message.resume_token
        assert not message.resume_token


async def test_workflows_enter_change_and_leave(wms: Process, other: Process):
    first = await wms.submit(name="first")
    watch = wms.watch_workflows("priority >= 60")
    snapshot, token = await snapshot_of(watch)
    assert list(snapshot.workflows) == []
    assert token

    await other.change(first, priority=60)
    entered = (await anext(watch)).revision
    assert entered.changes[0].workflow.name == "first"
    assert entered.changes[0].workflow.priority == 60

    await wms.change_taskforces(first, waiting_reason="no room")
    assert (await anext(watch)).revision.revision == 3

    await wms.submit(name="never seen")
    await other.change(first, priority=10)
    left = (await anext(watch)).left
    assert (left.workflow_id, left.revision) == (first, 4)

    await wms.change(first, priority=11)
    await wms.change(first, priority=100)
    assert (await anext(watch)).revision.revision == 6
    await watch.aclose()


async def test_a_watch_over_workflows_goes_on_behind_any_token(wms: Process):
    workflow_id = await wms.submit()
    watch = wms.watch_workflows()
    tokens = [(await snapshot_of(watch))[1]]
    for priority in range(5):
        await wms.change(workflow_id, priority=priority)
        tokens.append((await anext(watch)).resume_token)
    await watch.aclose()

    for seen, token in enumerate(tokens):
        resumed = wms.watch_workflows(resume_token=token)
        revisions = [(await anext(resumed)).revision.revision for _ in range(5 - seen)]
        assert revisions == list(range(2 + seen, 7))
        await resumed.aclose()


async def test_what_the_snapshot_has_seen_in_the_outbox_does_not_come_twice(wms: Process):
    workflow_id = await wms.submit()
    async with wms.db.transaction() as tx:
        # Nobody can give positions while this holds the row.
        await tx.fetchval(STOP_MOVING)
        await wms.change(workflow_id, priority=60)
        assert await wms.db.fetchval(OUTBOX)
        watch = wms.watch_workflows()
        snapshot, token = await snapshot_of(watch)
        assert [w.priority for w in snapshot.workflows] == [60]
    await wms.change(workflow_id, priority=61)
    for following in (watch, wms.watch_workflows(resume_token=token)):
        message = await anext(following)
        assert message.revision.revision == 3
        await following.aclose()
    resumed = wms.watch_workflows(resume_token=message.resume_token)
    await wms.change(workflow_id, priority=62)
    assert (await anext(resumed)).revision.revision == 4
    await resumed.aclose()


async def test_a_token_that_skips_nothing_comes_with_each_checkpoint(wms: Process):
    workflow_id = await wms.submit()
    watch = wms.watch_workflows("priority > 90", checkpoints=0.1)
    _, first = await snapshot_of(watch)
    await wms.change(workflow_id, priority=60)
    while (message := await anext(watch)).resume_token == first:
        assert message.WhichOneof("event") == "checkpoint"
    assert message.WhichOneof("event") == "checkpoint"
    await watch.aclose()
    resumed = wms.watch_workflows("priority > 90", resume_token=message.resume_token)
    await wms.change(workflow_id, priority=99)
    assert (await anext(resumed)).revision.revision == 3
    await resumed.aclose()


async def test_a_token_serves_its_own_watch_and_filter_alone(wms: Process):
    watch = wms.watch_workflows("priority > 5")
    _, token = await snapshot_of(watch)
    await watch.aclose()
    same = wms.watch_workflows("priority  >  5", resume_token=token)
    waiting = asyncio.ensure_future(anext(same))
    for refused in (
        wms.watch_workflows("priority > 6", resume_token=token),
        wms.watch_taskforces("priority > 5", resume_token=token),
        wms.watch_workflows("priority > 5", resume_token="nonsense"),
        wms.watch_workflows("priority > 5", resume_token="AAAA"),
    ):
        with pytest.raises(InvalidSubmission) as error:
            await anext(refused)
        assert [v.path for v in error.value.violations] == ["resume_token"]
    await wms.submit()
    assert (await waiting).revision.revision == 1
    await same.aclose()


async def test_a_token_of_a_renewed_feed_is_refused_and_running_watches_end(wms: Process):
    workflow_id = await wms.submit()
    watch, one = wms.watch_workflows(), wms.watch(workflow_id)
    _, token = await snapshot_of(watch)
    epoch = (await anext(one)).snapshot.feed_epoch

    assert await renew_epoch(wms.db) != epoch
    wms.feed.missed()

    for running in (watch, one):
        with pytest.raises(PositionLost):
            await anext(running)
    with pytest.raises(PositionLost):
        await anext(wms.watch_workflows(resume_token=token))
    again = wms.watch_workflows()
    snapshot, _ = await snapshot_of(again)
    assert len(snapshot.workflows) == 1
    await again.aclose()


async def test_a_token_whose_place_was_compacted_away_is_refused(wms: Process):
    workflow_id = await wms.submit()
    watch = wms.watch_workflows()
    _, token = await snapshot_of(watch)
    for priority in range(3):
        await wms.change(workflow_id, priority=priority)
        newest = (await anext(watch)).resume_token
    await watch.aclose()

    while await compact(wms.db, timedelta(0), limit=2):
        pass
    with pytest.raises(PositionLost):
        await anext(wms.watch_workflows(resume_token=token))
    resumed = wms.watch_workflows(resume_token=newest)
    await wms.change(workflow_id, priority=50)
    assert (await anext(resumed)).revision.revision == 5
    await resumed.aclose()


async def test_taskforces_enter_change_and_leave_by_phase(wms: Process):
    workflow_id = await wms.submit(n_taskforces=2)
    watch = wms.watch_taskforces("phase = PENDING_STARTER")
    snapshot, _ = await snapshot_of(watch)
    assert list(snapshot.taskforces) == []

    await wms.change_taskforces(workflow_id, phase=Phase.PENDING_STARTER)
    entered = (await anext(watch)).revision
    assert [c.taskforce.schedd for c in entered.changes] == ["sub-2"] * 2
    assert (entered.revision, entered.is_last) == (2, True)

    await wms.change(workflow_id, name="no taskforce changes here")
    await wms.change_taskforces(workflow_id, phase=Phase.CONDOR_SUBMIT)
    left = (await anext(watch)).revision
    assert left.revision == 4
    assert not left.changes
    assert sorted(left.left_taskforce_uuids) == sorted(
        c.taskforce.taskforce_uuid for c in entered.changes
    )
    await watch.aclose()


async def test_taskforces_enter_and_leave_by_priority(wms: Process):
    workflow_id = await wms.submit(n_taskforces=1)
    watch = wms.watch_taskforces("priority > 50")
    await snapshot_of(watch)
    await wms.raise_priority(workflow_id, 10)
    assert (await anext(watch)).revision.changes[0].taskforce.priority == 60
    await wms.raise_priority(workflow_id, -20)
    assert len((await anext(watch)).revision.left_taskforce_uuids) == 1
    await wms.raise_priority(workflow_id, -5)
    await wms.raise_priority(workflow_id, 30)
    assert (await anext(watch)).revision.revision == 5
    await watch.aclose()


async def test_statuses_are_told_of_taskforces_that_match(wms: Process):
    workflow_id = await wms.submit(n_taskforces=1)
    watch = wms.watch_taskforces('schedd = "sub-2"')
    snapshot, _ = await snapshot_of(watch)
    uuid = snapshot.taskforces[0].taskforce_uuid
    for schedd in ("sub-1", "sub-2"):
        status = taskforce_pb2.TaskforceStatus(
            taskforce_uuid=uuid,
            phase=taskforce_pb2.TASKFORCE_PHASE_CONDOR_SUBMIT,
            schedd=schedd,
            top_task_errors={schedd: 1},
        )
        async with wms.store.revising([workflow_id]) as revisions:
            revisions[workflow_id].statuses_changed().CopyFrom(status)
    told = (await anext(watch)).revision
    assert told.revision == 3
    assert dict(told.changes[0].taskforce_status.top_task_errors) == {"sub-2": 1}
    await watch.aclose()


async def test_a_filter_that_cannot_be_read_is_refused(wms: Process):
    for watch in (wms.watch_workflows, wms.watch_taskforces):
        with pytest.raises(InvalidSubmission) as refused:
            await anext(watch("colour = red"))
        assert [v.path for v in refused.value.violations] == ["filter"]
