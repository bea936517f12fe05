"""A WMS in memory, TMS processes, and assignments whose pilots are small scripts."""

from __future__ import annotations

import shlex
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tms_fake_wms import FakeWms
from tms_process import TmsProcess, kill, starters

from ewms.wms.v1 import tms_service_pb2 as tms

StartMaker = Callable[..., tms.StartAssignment]


@pytest.fixture
async def wms() -> AsyncIterator[FakeWms]:
    fake = FakeWms()
    await fake.open()
    yield fake
    await fake.close()


@pytest.fixture
def new_start() -> StartMaker:
    """Assignments: `new_start("TF-1", n_workers=3, memory="1G")`."""

    def make(
        uuid: str, n_workers: int = 1, memory: str = "64M", runtime: int = 600, cores: int = 1
    ) -> tms.StartAssignment:
        start = tms.StartAssignment(
            queues=[
                tms.AssignedQueue(
                    mqid="q-in", broker_type="postgres", broker_address="b:1", auth_token="T-in"
                ),
                tms.AssignedQueue(
                    mqid="q-out", broker_type="postgres", broker_address="b:1", auth_token="T-out"
                ),
            ],
            pilot_credential="C-secret",
            owner="ada",
        )
        start.taskforce.taskforce_uuid = uuid
        start.taskforce.n_workers = n_workers
        start.taskforce.worker_config.worker_memory = memory
        start.taskforce.worker_config.max_worker_runtime = runtime
        start.taskforce.worker_config.n_cores = cores
        start.task_directive.task_image = "/images/copy.sif"
        start.task_directive.task_args = "cp {{INFILE}} {{OUTFILE}}"
        start.task_directive.input_queues.append("q-in")
        start.task_directive.output_queues.append("q-out")
        return start

    return make


@pytest.fixture
async def new_tms(tmp_path: Path, wms: FakeWms) -> AsyncIterator[Callable[..., TmsProcess]]:
    """TMS processes on one data folder, whose pilot is a shell script; ended with their workers."""
    made: list[TmsProcess] = []
    data = tmp_path / "data"

    def make(script: str, slots: int = 4) -> TmsProcess:
        process = TmsProcess(data, wms.address, f"/bin/sh -c {shlex.quote(script)}", slots)
        made.append(process)
        return process

    yield make
    for process in made:
        if process.process is not None:
            await process.end(signal.SIGKILL)
    for pid in starters(data):
        kill(pid)
