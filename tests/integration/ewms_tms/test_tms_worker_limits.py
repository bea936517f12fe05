"""Workers that are held, stopped, or started again."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tms_fake_wms import FakeWms, Response
from tms_process import CHIRP, TmsProcess, commands_below, kill, starters

from ewms.wms.v1 import tms_service_pb2 as tms

TmsMaker = Callable[..., TmsProcess]
StartMaker = Callable[..., tms.StartAssignment]


def statuses(wms: FakeWms, uuid: str = "TF-1") -> dict[str, dict[str, int]]:
    return wms.statuses.get(uuid, {})


def capacity(wms: FakeWms) -> tuple[int, int]:
    """The last that was told of free slots and of workers that wait."""
    reports = wms.of_kind(tms.ReportCapacityRequest)
    last = next(report for report in reversed(reports) if report.schedd == "local")
    return last.free_slots, last.n_idle_workers


def held(reason: str, code: int, n: int = 1) -> dict[str, dict[str, int]]:
    return {f"HELD: {reason} (code {code}, subcode 0)": {"": n}}


@pytest.mark.parametrize(
    ("script", "memory", "runtime", "expected"),
    [
        (
            "python3 -c \"x = b'1' * (200 << 20); input()\" < /dev/zero",
            "64M", 600, held("memory usage exceeds the limit", 34),
        ),
        ("sleep 600", "64M", 1, held("the allowed job duration was exceeded", 46)),
    ],
    ids=["memory", "run time"],
)  # fmt: skip
async def test_a_worker_that_takes_more_than_it_asked_for_is_stopped_and_held(
    wms: FakeWms,
    new_tms: TmsMaker,
    new_start: StartMaker,
    script: str,
    memory: str,
    runtime: int,
    expected: dict[str, dict[str, int]],
) -> None:
    process = new_tms(script)
    await process.begin()
    await wms.start(new_start("TF-1", memory=memory, runtime=runtime))
    await wms.until(lambda: statuses(wms) == expected)
    await wms.stop("TF-1")
    await wms.until(lambda: wms.is_done("TF-1"))
    (outcome,) = wms.completed["TF-1"].outcomes
    assert outcome.hold_code in (34, 46)
    assert starters(process.data) == []


@pytest.mark.parametrize("end", ["kill -9 $$", "exit 137"])
async def test_a_worker_that_a_signal_ended_runs_again_and_is_held_after_five_starts(
    wms: FakeWms, new_tms: TmsMaker, new_start: StartMaker, tmp_path: Path, end: str
) -> None:
    await new_tms(f"echo x >> {tmp_path}/starts; {end}").begin()
    await wms.start(new_start("TF-1"))
    await wms.until(lambda: statuses(wms) == held("a periodic hold expression became true", 3))
    assert (tmp_path / "starts").read_text().split() == ["x"] * 5


async def test_a_worker_whose_starter_is_killed_dies_with_it_and_runs_again(
    wms: FakeWms, new_tms: TmsMaker, new_start: StartMaker, tmp_path: Path
) -> None:
    lock = tmp_path / "exclusive"
    chirp = f"python3 -c \"{CHIRP}\" 'HTChirpEWMSPilotStatus: Tasking'"
    script = (
        f"exec 9>{lock}; flock -n 9 || echo overlap >> {tmp_path}/overlaps;"
        f" echo x >> {tmp_path}/starts;"
        f" test $(wc -l < {tmp_path}/starts) = 2 || {{ {chirp}; sleep 600; }}"
    )
    process = new_tms(script)
    await process.begin()
    await wms.start(new_start("TF-1"))
    await wms.until(lambda: statuses(wms) == {"RUNNING": {"Tasking": 1}})
    (starter,) = starters(process.data)
    kill(starter)
    await wms.until(lambda: wms.is_done("TF-1"))
    assert (tmp_path / "starts").read_text().split() == ["x"] * 2
    assert not (tmp_path / "overlaps").exists()
    assert [outcome.exit_code for outcome in wms.completed["TF-1"].outcomes] == [0]


async def test_a_held_cluster_waits_until_it_is_released(
    wms: FakeWms, new_tms: TmsMaker, new_start: StartMaker, tmp_path: Path
) -> None:
    process = new_tms(f"test -e {tmp_path}/go || sleep 600", slots=2)
    await process.begin()
    attempt = await wms.start(new_start("TF-1", n_workers=3))
    await wms.until(lambda: statuses(wms) == {"RUNNING": {"": 2}, "IDLE": {"": 1}})
    hold = tms.HoldAssignment(taskforce_uuid="TF-1", attempt=attempt, cluster_id=1, reason="pause")
    await wms.push("local", Response(hold=hold))
    await wms.push("local", Response(hold=hold))
    await wms.until(lambda: statuses(wms) == held("put on hold by request", 1, 3))
    assert b"sleep" not in commands_below(process.data)
    (tmp_path / "go").touch()
    release = tms.ReleaseAssignment(taskforce_uuid="TF-1", attempt=attempt, cluster_id=1)
    await wms.push("local", Response(release=release))
    await wms.until(lambda: wms.is_done("TF-1"))
    assert statuses(wms) == {"COMPLETED": {"": 3}}


async def test_a_pilot_that_cannot_be_executed_is_held_with_the_reason(
    wms: FakeWms, new_tms: TmsMaker, new_start: StartMaker
) -> None:
    process = new_tms("")
    process.pilot = "/no/such/pilot"
    await process.begin()
    await wms.start(new_start("TF-1"))
    await wms.until(lambda: statuses(wms) == held("the job could not be started", 6))


async def test_workers_take_a_slot_for_each_core_and_a_wide_one_is_waited_for(
    wms: FakeWms, new_tms: TmsMaker, new_start: StartMaker, tmp_path: Path
) -> None:
    script = f"until test -e {tmp_path}/go; do sleep 0.05; done"
    await new_tms(script, slots=4).begin()
    await wms.start(new_start("TF-1", cores=3))
    await wms.until(lambda: statuses(wms) == {"RUNNING": {"": 1}})
    await wms.start(new_start("TF-2", cores=4))
    await wms.until(lambda: statuses(wms, "TF-2") == {"IDLE": {"": 1}})
    await wms.start(new_start("TF-3"))
    await wms.until(lambda: statuses(wms, "TF-3") == {"IDLE": {"": 1}})
    # A slot is free, and nobody is let to it.
    await wms.until(lambda: capacity(wms) == (1, 2))
    (tmp_path / "go").touch()
    await wms.until(lambda: wms.is_done("TF-1", "TF-2", "TF-3"))
    assert statuses(wms, "TF-2") == {"COMPLETED": {"": 1}}


@pytest.mark.parametrize(
    ("wish", "reason"),
    [({"cores": 5}, "5 cores.* 4 slots"), ({"memory": "1000T"}, "GiB of memory")],
    ids=["cores", "memory"],
)
async def test_a_worker_larger_than_the_machine_is_refused_with_the_reason(
    wms: FakeWms, new_tms: TmsMaker, new_start: StartMaker, wish: dict[str, Any], reason: str
) -> None:
    await new_tms("true", slots=4).begin()
    await wms.start(new_start("TF-1", **wish))
    await wms.until(lambda: wms.of_kind(tms.ReportCondorSubmitFailedRequest))
    (failed,) = wms.of_kind(tms.ReportCondorSubmitFailedRequest)
    assert failed.is_refusal
    assert re.search(reason, failed.error)
