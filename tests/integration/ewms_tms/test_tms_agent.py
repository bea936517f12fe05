"""An agent and a WMS that goes away, comes back, or has been silent for too long."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from tms_fake_wms import FakeWms, Response
from tms_process import TmsProcess

from ewms.wms.v1 import tms_service_pb2 as tms

TmsMaker = Callable[..., TmsProcess]
StartMaker = Callable[..., tms.StartAssignment]


async def test_reports_are_tried_until_the_wms_takes_them(
    wms: FakeWms, new_tms: TmsMaker, new_start: StartMaker
) -> None:
    wms.refuse |= {"ReportCondorSubmit", "ReportStatuses", "ReportCondorComplete"}
    await new_tms("exit 0").begin()
    await wms.start(new_start("TF-1", n_workers=2))
    await wms.until(lambda: wms.refused["ReportCondorSubmit"] > 1)
    wms.refuse.discard("ReportCondorSubmit")
    await wms.until(lambda: wms.refused["ReportStatuses"] > 1)
    # What is told of a cluster comes in its order: submission, statuses, end.
    assert wms.refused["ReportCondorComplete"] == 0
    wms.refuse.discard("ReportStatuses")
    await wms.until(lambda: wms.refused["ReportCondorComplete"] > 1)
    assert wms.statuses["TF-1"] == {"COMPLETED": {"": 2}}
    wms.refuse.clear()
    await wms.until(lambda: wms.is_done("TF-1"))
    assert len(wms.of_kind(tms.ReportCondorSubmitRequest)) == 1
    assert len(wms.of_kind(tms.ReportCondorCompleteRequest)) == 1


async def test_a_wms_that_was_restarted_is_found_and_told_what_it_missed(
    wms: FakeWms, new_tms: TmsMaker, new_start: StartMaker, tmp_path: object
) -> None:
    await new_tms(f"while ! test -e {tmp_path}/go; do sleep 0.05; done").begin()
    await wms.start(new_start("TF-1"))
    await wms.until(lambda: wms.statuses.get("TF-1") == {"RUNNING": {"": 1}})
    address, n_leases = wms.address, len(wms.leased)
    await wms.close()
    with open(f"{tmp_path}/go", "w"):  # noqa: ASYNC230
        pass
    await wms.open(address)
    await wms.until(lambda: len(wms.leased) == n_leases + 2)
    await wms.until(lambda: wms.is_done("TF-1"))
    assert wms.statuses["TF-1"] == {"COMPLETED": {"": 1}}


async def test_the_agents_id_outlives_restarts_and_sequences_grow_over_sessions(
    wms: FakeWms, new_tms: TmsMaker, new_start: StartMaker
) -> None:
    process = new_tms("sleep 600")
    await process.begin()
    await wms.start(new_start("TF-1"))
    await wms.until(lambda: wms.statuses.get("TF-1") == {"RUNNING": {"": 1}})
    first = wms.sequences["TF-1"]
    await process.end(signal.SIGKILL)
    await process.begin()
    await wms.until(lambda: wms.sequences["TF-1"] > first)
    assert len({agent_id for _, agent_id, _ in wms.leased}) == 1
    assert wms.sequences["TF-1"] >> 32 > first >> 32


async def test_a_tms_that_was_stopped_for_longer_than_its_lease_submits_nothing_under_it(
    wms: FakeWms, new_tms: TmsMaker, new_start: StartMaker
) -> None:
    wms.ttl = 1.0
    process = new_tms("exit 0")
    await process.begin()
    await process.watching()
    assert process.process is not None
    process.process.send_signal(signal.SIGSTOP)
    n_leases = len(wms.leased)
    await wms.start(new_start("TF-1"))
    await asyncio.sleep(1.5)  # longer than the lease: what is tested is time itself
    process.process.send_signal(signal.SIGCONT)
    await wms.until(lambda: len(wms.leased) >= n_leases + 2)
    assert await wms.start(new_start("TF-1")) == 2
    await wms.until(lambda: wms.is_done("TF-1"))
    assert [report.attempt for report in wms.of_kind(tms.ReportCondorSubmitRequest)] == [2]


async def test_a_stream_that_falls_silent_is_opened_again(wms: FakeWms, new_tms: TmsMaker) -> None:
    wms.ttl = 1.0
    wms.does_renew = False
    await new_tms("exit 0").begin()
    await wms.until(lambda: len(wms.leased) >= 4)
    assert {schedd for schedd, _, _ in wms.leased} == {"local", "osg"}


async def test_a_start_and_a_stop_right_behind_it_are_done_in_their_order(
    wms: FakeWms, new_tms: TmsMaker, new_start: StartMaker
) -> None:
    await new_tms("sleep 600").begin()
    for number in range(5):
        await wms.start(new_start(f"TF-{number}"))
        await wms.stop(f"TF-{number}")
    uuids = [f"TF-{number}" for number in range(5)]
    await wms.until(lambda: wms.is_done(*uuids))
    await wms.until(lambda: len(wms.of_kind(tms.ReportCondorRmRequest)) == 5)
    for uuid in uuids:
        of_taskforce = [
            report for report in wms.reports if getattr(report, "taskforce_uuid", "") == uuid
        ]
        assert isinstance(of_taskforce[0], tms.ReportCondorSubmitRequest)
        (removed,) = [r for r in of_taskforce if isinstance(r, tms.ReportCondorRmRequest)]
        assert removed.cluster_id == wms.clusters[uuid]
    assert len(wms.clusters) == 5


async def test_a_second_cluster_that_the_wms_does_not_want_is_removed_and_the_first_one_runs_on(
    wms: FakeWms, new_tms: TmsMaker, new_start: StartMaker
) -> None:
    wms.clusters["TF-1"] = 77
    await new_tms("sleep 600").begin()
    await wms.start(new_start("TF-1"))
    await wms.until(lambda: wms.of_kind(tms.ReportCondorCompleteRequest))
    (complete,) = wms.of_kind(tms.ReportCondorCompleteRequest)
    assert complete.cluster_id == 1
    assert [outcome.removed for outcome in complete.outcomes] == [True]


async def test_a_disk_that_fails_is_no_refusal(
    wms: FakeWms, new_tms: TmsMaker, new_start: StartMaker
) -> None:
    process = new_tms("exit 0")
    await process.begin()
    await process.watching()
    folder = process.data / "schedds" / "local" / "taskforces"
    folder.rmdir()
    folder.touch()
    await wms.start(new_start("TF-1"))
    await wms.until(lambda: wms.of_kind(tms.ReportCondorSubmitFailedRequest))
    (failed,) = wms.of_kind(tms.ReportCondorSubmitFailedRequest)
    assert not failed.is_refusal
    folder.unlink()
    folder.mkdir()
    await wms.start(new_start("TF-1"))
    await wms.until(lambda: wms.is_done("TF-1"))


async def test_clusters_whose_logs_were_lost_are_reported_at_the_next_start(
    wms: FakeWms, new_tms: TmsMaker, new_start: StartMaker
) -> None:
    process = new_tms("exit 0", slots=1)
    await process.begin()
    wms.refuse.add("ReportCondorComplete")
    await wms.start(new_start("TF-1"))
    await wms.until(lambda: wms.refused["ReportCondorComplete"] > 0)
    await process.end(signal.SIGKILL)
    for log in process.data.rglob("*.tms.jel"):
        log.unlink()
    wms.refuse.clear()
    await process.begin()
    await wms.until(lambda: wms.is_done("TF-1"))
    assert wms.completed["TF-1"].context == "lost"


async def test_what_the_agent_does_not_know_is_passed_over(
    wms: FakeWms, new_tms: TmsMaker, new_start: StartMaker
) -> None:
    await new_tms("exit 0").begin()
    await wms.push("local", Response())
    hold = tms.HoldAssignment(taskforce_uuid="TF-9", attempt=1, cluster_id=99)
    await wms.push("local", Response(hold=hold))
    await wms.start(new_start("TF-1"))
    await wms.until(lambda: wms.is_done("TF-1"))
