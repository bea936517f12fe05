"""A WMS in memory, TMS processes, and assignments whose pilots are small scripts."""

from __future__ import annotations

import shlex
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from condor_pool import RealPool, real_pool
from condor_runs import nothing_is_left_in_the_queue
from tms_fake_wms import FakeWms
from tms_process import TmsProcess, kill, starters

from ewms.wms.v1 import tms_service_pb2 as tms

StartMaker = Callable[..., tms.StartAssignment]
TmsMaker = Callable[..., TmsProcess]


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


@pytest.fixture
def pool() -> Iterator[RealPool]:
    with real_pool() as opened:
        yield opened


@pytest.fixture
async def new_condor_tms(pool: RealPool, wms: FakeWms) -> AsyncIterator[TmsMaker]:
    """TMS processes on one data folder, as the pool's account, whose pilot is a shell script."""
    made: list[TmsProcess] = []

    def make(script: str, *options: str, **grid: str) -> TmsProcess:
        pilot = pool.script("pilot", script)
        schedd = grid.get("schedd", pool.schedd)
        settings = (
            "--grid", "condor", "--schedd", "local", "--condor-schedds", f"local={schedd}",
            "--condor-config", str(pool.config),
            "--condor-tokens", grid.get("tokens", str(pool.tokens)),
            "--condor-interval", "1", *options,
        )  # fmt: skip
        process = TmsProcess(
            pool.place / "data", wms.address, str(pilot), options=settings,
            prefix=pool.command_prefix,
        )  # fmt: skip
        made.append(process)
        return process

    yield make
    for process in made:
        if process.process is not None:
            await process.end(signal.SIGKILL)
    await nothing_is_left_in_the_queue(pool)
