"""A taskforce from its assignment to its end, by real processes."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from tms_fake_wms import FakeWms, Response
from tms_process import CHIRP, TmsProcess, commands_below

from ewms.wms.v1 import tms_service_pb2 as tms
from ewms_tms.process_tree import list_folder

TmsMaker = Callable[..., TmsProcess]
StartMaker = Callable[..., tms.StartAssignment]


def counts(wms: FakeWms, uuid: str) -> dict[str, dict[str, int]]:
    return wms.statuses.get(uuid, {})


async def test_a_started_taskforce_runs_to_its_end(
    wms: FakeWms, new_tms: TmsMaker, new_start: StartMaker
) -> None:
    process = new_tms("exit 0")
    await process.begin()
    assert await process.watching() == "watching local osg"
    await wms.start(new_start("TF-1", n_workers=6))
    await wms.until(lambda: wms.is_done("TF-1"))

    (submitted,) = wms.of_kind(tms.ReportCondorSubmitRequest)
    assert (submitted.attempt, submitted.cluster_id, submitted.n_workers) == (1, 1, 6)
    assert submitted.submit_dict["request_memory"] == "64"
    assert submitted.job_event_log_fpath == str(next(process.data.rglob("*.tms.jel")))
    assert "secret" not in str(submitted)
    assert wms.statuses["TF-1"] == {"COMPLETED": {"": 6}}
    (outcome,) = wms.completed["TF-1"].outcomes
    assert (outcome.exit_code, outcome.count) == (0, 6)
    assert await process.end(signal.SIGTERM) == 0


async def test_the_pilot_gets_its_secrets_in_a_file_of_its_own_and_is_heard(
    wms: FakeWms, new_tms: TmsMaker, new_start: StartMaker, tmp_path: Path
) -> None:
    script = (
        f"stat -c %a $EWMS_PILOT_ENV_FILE > {tmp_path}/mode; env > {tmp_path}/env;"
        f" mv $EWMS_PILOT_ENV_FILE {tmp_path}/secrets;"
        f' python3 -c "{CHIRP}" \'HTChirpEWMSPilotError: "bad event"\''
        f" 'HTChirpEWMSPilotStatus: \"Tasking\"'; sleep 600"
    )
    process = new_tms(script)
    await process.begin()
    await wms.start(new_start("TF-1"))
    await wms.until(lambda: counts(wms, "TF-1") == {"RUNNING": {"Tasking": 1}})
    assert wms.errors["TF-1"] == {"bad event": 1}
    assert (tmp_path / "mode").read_text().strip() == "600"
    secrets = json.loads((tmp_path / "secrets").read_text())
    assert secrets["EWMS_PILOT_QUEUE_INCOMING_AUTH_TOKEN"] == "T-in"
    assert secrets["EWMS_PILOT_QUEUE_CREDENTIAL"] == "C-secret"
    assert secrets["EWMS_PILOT_RUNNER"] == "process"
    assert "C-secret" not in (tmp_path / "env").read_text()
    (log,) = process.data.rglob("*.tms.jel")
    assert "C-secret" not in log.read_text()


async def test_a_stop_ends_the_workers_and_leaves_nothing_of_them(
    wms: FakeWms, new_tms: TmsMaker, new_start: StartMaker, tmp_path: Path
) -> None:
    chirp = f"python3 -c \"{CHIRP}\" 'HTChirpEWMSPilotStatus: Tasking'"
    process = new_tms(f"echo $$ >> {tmp_path}/pids; setsid sleep 600 & {chirp}; sleep 600")
    await process.begin()
    await wms.start(new_start("TF-1", n_workers=3))
    await wms.until(lambda: counts(wms, "TF-1") == {"RUNNING": {"Tasking": 3}})
    await wms.stop("TF-1")
    await wms.until(lambda: wms.is_done("TF-1") and wms.of_kind(tms.ReportCondorRmRequest))
    (removed,) = wms.of_kind(tms.ReportCondorRmRequest)
    assert (removed.cluster_id, removed.attempt) == (1, 1)
    assert wms.statuses["TF-1"] == {"REMOVED": {"Tasking": 3}}
    (outcome,) = wms.completed["TF-1"].outcomes
    assert (outcome.removed, outcome.count) == (True, 3)
    pids = (tmp_path / "pids").read_text().split()
    assert len(pids) == 3
    assert not set(pids) & set(list_folder("/proc"))
    assert b"sleep\x00600" not in commands_below(process.data)
    assert not list(process.data.rglob("*env.json"))


async def test_a_stop_of_what_was_never_submitted_is_answered_and_voids_its_attempts(
    wms: FakeWms, new_tms: TmsMaker, new_start: StartMaker
) -> None:
    await new_tms("exit 0").begin()
    late = new_start("TF-1")
    late.attempt = 2
    stop = tms.StopAssignment(taskforce_uuid="TF-1", attempt=2)
    await wms.push("local", Response(stop=stop))
    await wms.push("local", Response(start=late))
    await wms.start(new_start("TF-2"))
    await wms.until(lambda: wms.is_done("TF-2"))
    (removed,) = wms.of_kind(tms.ReportCondorRmRequest)
    assert (removed.taskforce_uuid, removed.attempt) == ("TF-1", 2)
    assert not removed.HasField("cluster_id")
    assert "TF-1" not in wms.clusters


async def test_a_cluster_that_nobody_has_any_more_is_reported_lost(
    wms: FakeWms, new_tms: TmsMaker
) -> None:
    await new_tms("exit 0").begin()
    await wms.stop("TF-1", cluster_id=77)
    await wms.until(lambda: wms.is_done("TF-1"))
    assert wms.of_kind(tms.ReportCondorRmRequest)[0].cluster_id == 77
    assert wms.completed["TF-1"].context == "lost"


async def test_a_start_that_is_repeated_is_answered_with_the_first_cluster(
    wms: FakeWms, new_tms: TmsMaker, new_start: StartMaker
) -> None:
    await new_tms("sleep 600").begin()
    start = new_start("TF-1")
    for _ in range(3):
        await wms.start(start)
    await wms.until(lambda: len(wms.of_kind(tms.ReportCondorSubmitRequest)) == 3)
    reports = wms.of_kind(tms.ReportCondorSubmitRequest)
    assert {(report.cluster_id, report.attempt) for report in reports} == {(1, 1)}


@pytest.mark.parametrize("requirements", ["(Memory > 1", "Memory > 1\n+Owner = 7"])
async def test_what_can_never_work_is_refused_in_words(
    wms: FakeWms, new_tms: TmsMaker, new_start: StartMaker, requirements: str
) -> None:
    await new_tms("exit 0").begin()
    start = new_start("TF-1")
    start.taskforce.worker_config.condor_requirements = requirements
    await wms.start(start)
    await wms.until(lambda: wms.of_kind(tms.ReportCondorSubmitFailedRequest))
    (failed,) = wms.of_kind(tms.ReportCondorSubmitFailedRequest)
    assert failed.is_refusal
    assert "requirements" in failed.error


async def test_input_files_are_beside_each_worker_and_a_missing_one_is_refused(
    wms: FakeWms, new_tms: TmsMaker, new_start: StartMaker, tmp_path: Path
) -> None:
    (tmp_path / "calibration.txt").write_text("42")
    await new_tms('test "$(cat calibration.txt)" = 42 && rm calibration.txt').begin()
    start = new_start("TF-1", n_workers=2)
    start.taskforce.pilot_config.input_files.append(f"file://{tmp_path}/calibration.txt")
    await wms.start(start)
    missing = new_start("TF-2")
    missing.taskforce.pilot_config.input_files.append(str(tmp_path / "nothing"))
    await wms.start(missing)
    await wms.until(lambda: wms.is_done("TF-1"))
    await wms.until(lambda: wms.of_kind(tms.ReportCondorSubmitFailedRequest))
    assert wms.statuses["TF-1"] == {"COMPLETED": {"": 2}}
    assert [outcome.exit_code for outcome in wms.completed["TF-1"].outcomes] == [0]
    (failed,) = wms.of_kind(tms.ReportCondorSubmitFailedRequest)
    assert failed.is_refusal
    assert "nothing" in failed.error


async def test_a_failed_worker_says_its_last_words_and_its_output_is_kept_if_asked_for(
    wms: FakeWms, new_tms: TmsMaker, new_start: StartMaker
) -> None:
    process = new_tms("echo hello; echo 'no such queue' >&2; exit 3")
    await process.begin()
    start = new_start("TF-1")
    start.taskforce.worker_config.do_transfer_worker_stdouterr = True
    await wms.start(start)
    await wms.start(new_start("TF-2"))
    await wms.until(lambda: wms.is_done("TF-1", "TF-2"))
    for uuid in ("TF-1", "TF-2"):
        assert wms.errors[uuid] == {"exit code 3: no such queue": 1}
        assert [outcome.exit_code for outcome in wms.completed[uuid].outcomes] == [3]
    (kept,) = process.data.rglob("*.out")
    assert "TF-1" in kept.parts
    assert kept.read_text() == "hello\n"


async def test_room_is_told_and_slots_are_shared_by_the_schedds(
    wms: FakeWms, new_tms: TmsMaker, new_start: StartMaker
) -> None:
    await new_tms("sleep 600", slots=2).begin()
    await wms.start(new_start("TF-1", n_workers=5), schedd="local")
    await wms.start(new_start("TF-2", n_workers=5), schedd="osg")

    def is_full() -> bool:
        local, osg = wms.capacity.get("local"), wms.capacity.get("osg")
        if local is None or osg is None:
            return False
        n_running = local.n_running_workers + osg.n_running_workers
        n_idle = local.n_idle_workers + osg.n_idle_workers
        return (local.free_slots, osg.total_slots, n_running, n_idle) == (0, 2, 2, 8)

    await wms.until(is_full)
