"""A taskforce from its assignment to its end, by real processes."""

from __future__ import annotations

import signal
from collections.abc import Callable

from tms_fake_wms import FakeWms
from tms_process import TmsProcess

from ewms.wms.v1 import tms_service_pb2 as tms

TmsMaker = Callable[..., TmsProcess]
StartMaker = Callable[..., tms.StartAssignment]


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
    assert "secret" not in str(submitted)
    assert wms.statuses["TF-1"] == {"COMPLETED": {"": 6}}
    (outcome,) = wms.completed["TF-1"].outcomes
    assert (outcome.exit_code, outcome.count) == (0, 6)
    assert await process.end(signal.SIGTERM) == 0
