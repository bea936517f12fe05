"""Submissions to HTCondor: a thousand taskforces that wait for their TMS, on one schedd.

A real WMS and MQS have all of them ready when the TMS, a process of the pool's account, gets its
lease; the clock ends when the WMS has heard of the last cluster. The limit is a bare loop over the
bindings in a process of its own, with the same descriptions on the same schedd. No worker ever
starts (`requirements` are false). What was submitted is removed before the next round.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from benchmarks.condor_site import CondorSite, condor_site
from benchmarks.condor_taskforces import task
from benchmarks.load import DEADLINE, Call, call_of, clients
from benchmarks.measuring import Round, Row, Unit, at_least
from benchmarks.processes import EWMS, ServerFailed, serving
from benchmarks.site import Kind, Site
from ewms.wms.v1 import workflow_service_pb2 as pb

__all__ = ["ROW"]

_TASKFORCES = 1_000
_TASKS = 20
_SCHEDD = "osg"
_WORKFLOWS = "/ewms.wms.v1.WorkflowService"
_INTERVAL = 0.02

_ARE_READY = "SELECT count(*) FROM wms.taskforce WHERE phase = 'PENDING_STARTER'"
_ARE_SUBMITTED = "SELECT count(*) FROM wms.taskforce WHERE phase = 'CONDOR_SUBMIT'"
_ARE_GONE = "SELECT count(*) FROM wms.taskforce WHERE phase <> 'CONDOR_COMPLETE'"


@asynccontextmanager
async def _ours(site: Site, kind: Kind) -> AsyncIterator[Round]:
    n_workflows = max(1, site.scale.of(_TASKFORCES) // _TASKS)
    with condor_site() as pool:
        async with (
            site.database(kind) as url,
            site.mqs(url) as mqs,
            site.wms(url, mqs.address) as wms,
            clients(wms.address, 1) as [channel],
        ):
            submit = call_of(channel, f"{_WORKFLOWS}/SubmitWorkflow")
            abort = call_of(channel, f"{_WORKFLOWS}/AbortWorkflow")
            connection = await asyncpg.connect(url)

            async def measure() -> float:
                ids = [await _submitted(submit) for _ in range(n_workflows)]
                number = n_workflows * _TASKS
                await _until(connection, _ARE_READY, number)
                log = site.log_of("tms")
                async with serving(*_tms(pool, wms.address), log=log, says="watching"):
                    begin = time.perf_counter()
                    await _until(connection, _ARE_SUBMITTED, number)
                    seconds = time.perf_counter() - begin
                    for each in ids:
                        request = pb.AbortWorkflowRequest(workflow_id=each)
                        await abort(request.SerializeToString(), timeout=DEADLINE)
                    await _until(connection, _ARE_GONE, 0)
                return number / seconds

            yield measure
            await connection.close()


@asynccontextmanager
async def _limit(site: Site, _kind: Kind) -> AsyncIterator[Round]:
    number = site.scale.of(_TASKFORCES)
    with condor_site() as pool:
        arguments = (pool.schedd, str(pool.folder / "bare"), str(number))

        async def measure() -> float:
            process = await asyncio.create_subprocess_exec(
                *pool.command(sys.executable, "-m", "benchmarks.bare_condor", *arguments),
                stdout=asyncio.subprocess.PIPE,
            )
            said, _ = await process.communicate()
            if process.returncode:
                raise ServerFailed("the bare loop does not work")
            return number / float(said)

        yield measure


ROW = Row(
    name="condor-submissions",
    what=f"taskforces submitted/s, {_TASKFORCES} on one schedd of HTCondor",
    limit_is="bare htcondor2 loop, the same descriptions",
    unit=Unit.RATE,
    required=at_least(0.7),
    goal=at_least(0.9),
    ours=_ours,
    limit=_limit,
    needs="an HTCondor pool",
    rounds=5,
)


def _tms(pool: CondorSite, wms: str) -> tuple[str, ...]:
    return pool.command(
        EWMS, "tms", "--grid", "condor", "--schedd", _SCHEDD,
        "--condor-schedds", f"{_SCHEDD}={pool.schedd}", "--condor-config", str(pool.config),
        "--condor-tokens", str(pool.tokens), "--data", str(pool.folder / "tms"),
        "--pilot", "/bin/true", "--wms", wms,
    )  # fmt: skip


async def _submitted(submit: Call) -> str:
    request = pb.SubmitWorkflowRequest(
        public_queue_aliases=["input", "output"], tasks=[task()] * _TASKS
    )
    answer = await submit(request.SerializeToString(), timeout=DEADLINE)
    return pb.SubmitWorkflowResponse.FromString(answer).workflow.workflow_id


async def _until(connection: asyncpg.Connection, sql: str, number: int) -> None:
    """Looks again and again, since a stream for each workflow would cost the WMS more."""
    async with asyncio.timeout(DEADLINE):
        while await connection.fetchval(sql) != number:  # noqa: ASYNC110
            await asyncio.sleep(_INTERVAL)
