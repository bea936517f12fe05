"""A TMS that is killed at each step, and started again: nothing runs twice, nothing is lost."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tms_fake_wms import FakeWms
from tms_process import TmsProcess, ended, kill, starters
from watchfiles import awatch

from ewms.wms.v1 import tms_service_pb2 as tms
from ewms_tms.job_events import EventKind, JobEvent
from ewms_tms.log_file import LogFile, log_paths

TmsMaker = Callable[..., TmsProcess]
StartMaker = Callable[..., tms.StartAssignment]

# Right before one step is right after the one above it.
STEPS = [
    "after ewms_tms.journal:Journal.intend",
    "after ewms_tms.grid.local_schedd:LocalSchedd.submit",
    "after ewms_tms.journal:Journal.settle",
    "after ewms_tms.reports:Reports.submitted",
    "after ewms_tms.journal:Journal.announce",
    "before ewms_tms.grid.local_schedd:start_worker",
    "after ewms_tms.grid.local_schedd:start_worker",
    "before ewms_tms.grid.local_schedd:LocalSchedd.settle",
    "after ewms_tms.grid.local_schedd:LocalSchedd.settle",
    "before ewms_tms.reports:Reports.completed",
    "after ewms_tms.reports:Reports.completed",
    "after ewms_tms.journal:Journal.finish",
]


def exclusive(folder: Path, work: str) -> str:
    """A pilot that notes each of its runs, and each time that another one of its proc runs."""
    return (
        "proc=$(basename $PWD); cluster=$(basename $(dirname $PWD));"
        f" exec 9> {folder}/lock.$cluster.$proc;"
        f" flock -n 9 || echo $cluster.$proc >> {folder}/overlaps;"
        f" echo $cluster.$proc >> {folder}/runs; {work}"
    )


def logged(data: Path) -> list[JobEvent]:
    paths = log_paths(data / "schedds" / "local" / "logs")
    return [event for path in paths for event in LogFile(path).read()]


def runs(folder: Path) -> Counter[str]:
    path = folder / "runs"
    return Counter(path.read_text().split()) if path.exists() else Counter()


async def have_begun(folder: Path, number: int) -> None:
    """Until so many tasks have: a worker's execute event comes before its task's first line."""
    async with asyncio.timeout(20):
        async for _ in awatch(folder, yield_on_timeout=True, rust_timeout=500, step=20):
            if sum(runs(folder).values()) >= number:
                return


async def test_a_tms_that_dies_at_any_step_submits_once_and_runs_each_worker_once(
    wms: FakeWms, new_tms: TmsMaker, new_start: StartMaker, tmp_path: Path
) -> None:
    process = new_tms(exclusive(tmp_path, "exit 0"), slots=3)
    uuids = [f"TF-{number}" for number in range(len(STEPS))]
    for uuid, step in zip(uuids, STEPS, strict=True):
        await wms.until(lambda: not wms.is_watched("local"))
        await process.begin(die_at=step)
        # It may as well die while it recovers from the death before, and not take it.
        pushing = asyncio.create_task(wms.start(new_start(uuid, n_workers=2)))
        assert await process.death() == -signal.SIGKILL
        pushing.cancel()
    await process.begin()
    assert await process.watching()
    for uuid in uuids:
        if uuid not in wms.clusters:
            await wms.start(new_start(uuid, n_workers=2))
    await wms.until(lambda: wms.is_done(*uuids))

    events = logged(process.data)
    submitted = [event for event in events if event.kind is EventKind.CLUSTER_SUBMIT]
    assert len(submitted) == len(uuids)
    starts = Counter(
        (event.cluster, event.proc) for event in events if event.kind is EventKind.EXECUTE
    )
    assert set(starts.values()) == {1}
    assert len(starts) == sum(runs(tmp_path).values()) == 2 * len(uuids)
    assert not (tmp_path / "overlaps").exists()
    for uuid in uuids:
        assert wms.statuses[uuid] == {"COMPLETED": {"": 2}}


async def test_a_tms_killed_at_random_moments_runs_every_worker_exactly_once(
    wms: FakeWms, new_tms: TmsMaker, new_start: StartMaker, tmp_path: Path
) -> None:
    moments = random.Random(4)
    process = new_tms(exclusive(tmp_path, "sleep 0.1"), slots=4)
    uuids = [f"TF-{number}" for number in range(4)]
    for uuid in uuids:
        await process.begin()
        assert await process.watching()
        await wms.start(new_start(uuid, n_workers=3))
        await asyncio.sleep(moments.uniform(0, 0.25))
        await process.end(signal.SIGKILL)
    await process.begin()
    await process.watching()
    for uuid in uuids:
        if uuid not in wms.clusters:
            await wms.start(new_start(uuid, n_workers=3))
    await wms.until(lambda: wms.is_done(*uuids))
    assert set(runs(tmp_path).values()) == {1}
    assert sum(runs(tmp_path).values()) == 3 * len(uuids)
    assert not (tmp_path / "overlaps").exists()


async def test_workers_outlive_a_tms_that_is_stopped_and_the_next_one_adopts_them(
    wms: FakeWms, new_tms: TmsMaker, new_start: StartMaker, tmp_path: Path
) -> None:
    script = exclusive(tmp_path, f"while ! test -e {tmp_path}/go; do sleep 0.05; done")
    process = new_tms(script, slots=2)
    await process.begin()
    await wms.start(new_start("TF-1", n_workers=3))
    await wms.until(lambda: wms.statuses.get("TF-1") == {"RUNNING": {"": 2}, "IDLE": {"": 1}})
    before = starters(process.data)
    assert await process.end(signal.SIGTERM) == 0
    assert starters(process.data) == before
    wms.capacity.clear()
    await process.begin()
    await wms.until(lambda: "local" in wms.capacity and wms.capacity["local"].free_slots == 0)
    assert wms.capacity["local"].n_running_workers == 2
    (tmp_path / "go").touch()
    await wms.until(lambda: wms.is_done("TF-1"))
    assert runs(tmp_path) == Counter({"1.0.scratch": 1, "1.1.scratch": 1, "1.2.scratch": 1})


async def test_workers_that_end_or_are_killed_while_there_is_no_tms_are_told_by_the_log(
    wms: FakeWms, new_tms: TmsMaker, new_start: StartMaker, tmp_path: Path
) -> None:
    script = exclusive(
        tmp_path, f"test $(grep -c . {tmp_path}/runs) -gt 2 || while ! test -e {tmp_path}/go-$proc;"
        " do sleep 0.05; done; exit 5"
    )  # fmt: skip
    process = new_tms(script)
    await process.begin()
    await wms.start(new_start("TF-1", n_workers=2))
    await wms.until(lambda: wms.statuses.get("TF-1") == {"RUNNING": {"": 2}})
    await have_begun(tmp_path, 2)
    await process.end(signal.SIGKILL)
    victim, survivor = starters(process.data)
    kill(victim)
    for proc in range(2):
        (tmp_path / f"go-{proc}.scratch").touch()
    await ended(survivor)
    await process.begin()
    await wms.until(lambda: wms.is_done("TF-1"))
    (outcome,) = wms.completed["TF-1"].outcomes
    assert (outcome.exit_code, outcome.count) == (5, 2)
    assert sum(runs(tmp_path).values()) == 3
    assert not (tmp_path / "overlaps").exists()
    evicted = [event for event in logged(process.data) if event.kind is EventKind.EVICTED]
    assert len(evicted) == 1


async def test_a_removal_goes_on_after_a_kill(
    wms: FakeWms, new_tms: TmsMaker, new_start: StartMaker
) -> None:
    process = new_tms("sleep 600", slots=1)
    await process.begin(die_at="before ewms_tms.grid.local_worker:LocalWorker.tell")
    await wms.start(new_start("TF-1", n_workers=2))
    await wms.until(lambda: "RUNNING" in wms.statuses.get("TF-1", {}))
    await wms.stop("TF-1")
    assert await process.death() == -signal.SIGKILL
    assert starters(process.data)
    await process.begin()
    await wms.until(lambda: wms.is_done("TF-1"))
    assert wms.statuses["TF-1"] == {"REMOVED": {"": 2}}
    assert starters(process.data) == []


async def test_a_second_tms_on_the_same_folder_says_so_and_ends(
    wms: FakeWms, new_tms: TmsMaker
) -> None:
    first, second = new_tms("exit 0"), new_tms("exit 0")
    await first.begin()
    await first.watching()
    await second.begin()
    assert await second.death() == 1
