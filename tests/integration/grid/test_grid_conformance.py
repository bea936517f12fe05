"""What every adapter of the grid owes the TMS."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from grid_adapters import Watched, new_taskforce, submission

from ewms_tms.grid import Grid, Refused, UnknownCluster
from ewms_tms.job_events import ClusterId, EventKind, HoldCode
from ewms_tms.submission_notes import SubmissionNotes

# HTCondor adds who asked for it.
BY_USER = " (by user ewms)"
NOBODYS = ClusterId(987_654_321)


async def test_a_cluster_runs_and_is_told_of_from_its_submission_to_its_end(
    grid: Grid, watched: Watched
) -> None:
    uuid = new_taskforce()
    cluster = await grid.dispatcher.submit(submission("exit 3", 2, uuid))
    assert (cluster.taskforce, cluster.attempt, cluster.n_workers) == (uuid, 1, 2)
    await watched.has_left(cluster.cluster_id)
    kinds = watched.kinds(cluster.cluster_id)
    assert kinds[0] is EventKind.CLUSTER_SUBMIT
    assert kinds[-1] is EventKind.CLUSTER_REMOVE
    ends = [event for event in watched.events if event.kind is EventKind.TERMINATED]
    assert [event.exit_code for event in ends] == [3, 3]
    for proc in (0, 1):
        of_proc = watched.kinds(cluster.cluster_id, proc)
        assert of_proc.index(EventKind.EXECUTE) < of_proc.index(EventKind.TERMINATED)


async def test_whose_cluster_it_is_stands_in_its_submission_event(
    grid: Grid, watched: Watched
) -> None:
    uuid = new_taskforce()
    cluster = await grid.dispatcher.submit(submission("exit 0", 2, uuid, 4))
    await watched.until(lambda: EventKind.CLUSTER_SUBMIT in watched.kinds(cluster.cluster_id))
    notes = SubmissionNotes.parse(watched.events[0].text)
    assert notes == SubmissionNotes(uuid, 4, 2)


async def test_a_submission_is_found_by_its_attempt_while_it_runs_and_after(
    grid: Grid, watched: Watched
) -> None:
    find, uuid = grid.dispatcher.find, new_taskforce()
    assert await find(uuid, 1) is None
    cluster = await grid.dispatcher.submit(submission("exit 0", 1, uuid))
    found = await find(uuid, 1)
    assert found is not None
    assert (found.cluster_id, found.n_workers) == (cluster.cluster_id, 1)
    assert found.log_path == cluster.log_path
    assert await find(uuid, 2) is None
    assert await find(new_taskforce(), 1) is None
    await watched.has_left(cluster.cluster_id)
    assert await find(uuid, 1) is not None


async def test_clusters_have_numbers_of_their_own(grid: Grid) -> None:
    async with asyncio.TaskGroup() as group:
        submitting = [
            group.create_task(grid.dispatcher.submit(submission("exit 0"))) for _ in range(5)
        ]
    ids = {task.result().cluster_id for task in submitting}
    assert len(ids) == 5
    assert min(ids) >= 1


async def test_an_observer_that_begins_later_is_told_everything_from_the_beginning(
    grid: Grid, watched: Watched
) -> None:
    cluster = await grid.dispatcher.submit(submission("exit 0", n_workers=3))
    await watched.has_left(cluster.cluster_id)
    late = Watched(grid)
    following = asyncio.create_task(late.follow())
    await late.until(lambda: late.is_caught_up)
    following.cancel()
    assert late.events == watched.events


async def test_a_removal_ends_what_runs_and_what_waits_and_may_be_repeated(
    grid: Grid, watched: Watched
) -> None:
    cluster = await grid.dispatcher.submit(submission("sleep 600", n_workers=5))
    await watched.until(lambda: EventKind.EXECUTE in watched.kinds(cluster.cluster_id))
    await grid.dispatcher.remove(cluster.cluster_id, "no longer wanted")
    await grid.dispatcher.remove(cluster.cluster_id, "no longer wanted")
    await watched.has_left(cluster.cluster_id)
    kinds = watched.kinds(cluster.cluster_id)
    assert EventKind.TERMINATED not in kinds
    assert kinds.count(EventKind.CLUSTER_REMOVE) == 1
    aborted = [event for event in watched.events if event.kind is EventKind.ABORTED]
    assert aborted
    assert {event.text.removesuffix(BY_USER) for event in aborted} == {"no longer wanted"}


async def test_a_hold_stops_what_runs_and_a_release_lets_it_run_again(
    grid: Grid, watched: Watched, place: Path
) -> None:
    go = place / "go"
    cluster = await grid.dispatcher.submit(submission(f"test -e {go} || sleep 600"))
    await watched.until(lambda: EventKind.EXECUTE in watched.kinds(cluster.cluster_id))
    await grid.dispatcher.hold(cluster.cluster_id, "paused")
    await watched.until(lambda: EventKind.HELD in watched.kinds(cluster.cluster_id, 0))
    (held,) = [event for event in watched.events if event.kind is EventKind.HELD]
    assert held.hold_code == HoldCode.USER_REQUEST
    assert held.text.removesuffix(BY_USER) == "paused"
    go.touch()
    await grid.dispatcher.release(cluster.cluster_id, "go on")
    await watched.has_left(cluster.cluster_id)
    of_proc = watched.kinds(cluster.cluster_id, 0)
    assert of_proc.index(EventKind.HELD) < of_proc.index(EventKind.RELEASED)
    assert of_proc[-1] is EventKind.TERMINATED


async def test_a_worker_that_a_signal_ends_runs_again(
    grid: Grid, watched: Watched, place: Path
) -> None:
    script = f"test -e {place}/second && exit 0; touch {place}/second; kill -9 $$"
    cluster = await grid.dispatcher.submit(submission(script))
    await watched.has_left(cluster.cluster_id)
    of_proc = watched.kinds(cluster.cluster_id, 0)
    assert of_proc.count(EventKind.EXECUTE) == 2
    assert EventKind.EVICTED in of_proc
    assert of_proc[-1] is EventKind.TERMINATED


async def test_what_is_not_in_the_queue_cannot_be_removed_held_or_released(
    grid: Grid, watched: Watched
) -> None:
    ended = await grid.dispatcher.submit(submission("exit 0"))
    await watched.has_left(ended.cluster_id)
    for cluster_id in (NOBODYS, ended.cluster_id):
        with pytest.raises(UnknownCluster):
            await grid.dispatcher.remove(cluster_id, "x")
        with pytest.raises(UnknownCluster):
            await grid.dispatcher.hold(cluster_id, "x")
        with pytest.raises(UnknownCluster):
            await grid.dispatcher.release(cluster_id, "x")


async def test_files_are_brought_whole_and_there_and_back(grid: Grid, place: Path) -> None:
    source, there, back = place / "a.bin", place / "there", place / "back"
    source.write_bytes(bytes(range(256)) * 1000)
    await grid.data_transfer.stage_in([f"file://{source}"], there)
    await grid.data_transfer.stage_in([str(source)], there)
    assert [path.name for path in there.iterdir()] == ["a.bin"]
    await grid.data_transfer.stage_out(there, ["a.bin"], str(back))
    assert (back / "a.bin").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("source", ["/no/such/file", "relative", "gopher://host/file", "file:///"])
async def test_what_cannot_be_brought_is_refused(grid: Grid, place: Path, source: str) -> None:
    with pytest.raises(Refused):
        await grid.data_transfer.stage_in([source], place / "there")


async def test_room_is_told_now_and_as_it_changes(grid: Grid, watched: Watched) -> None:
    changes = grid.reservation.changes()
    # Slots of what has just ended are given back a little later.
    async with asyncio.timeout(60):
        async for empty in changes:
            if empty.free_slots == empty.total_slots:
                break
    assert empty.total_slots > 0
    assert empty.free_memory_bytes == empty.total_memory_bytes > 0
    cluster = await grid.dispatcher.submit(submission("sleep 600", n_workers=empty.total_slots + 2))
    async with asyncio.timeout(20):
        async for full in changes:
            # A slot is taken, and a little later what runs in it begins.
            if full.free_slots == 0 and full.n_running_workers == empty.total_slots:
                break
    assert full.n_idle_workers == 2
    assert full.free_memory_bytes < empty.free_memory_bytes
    await grid.dispatcher.remove(cluster.cluster_id, "enough")
    await watched.has_left(cluster.cluster_id)
    async with asyncio.timeout(20):
        async for after in changes:
            if after == empty:
                break
