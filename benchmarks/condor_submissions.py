"""Submissions to HTCondor: a thousand taskforces for one TMS, on one schedd.

The TMS is a process of the pool's account, with a data folder that the pool's daemons see. A
scripted WMS, which keeps nothing, hands out as many assignments at a time as a real one does; the
clock ends with the report of the last cluster. The limit is a bare loop over the bindings in a
process of its own, with the same descriptions on the same schedd. No worker ever starts
(`requirements` are false). What was submitted is removed before the next round.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

from benchmarks.condor_site import CondorSite, condor_site
from benchmarks.condor_taskforces import assignment
from benchmarks.measuring import Round, Row, Unit, at_least
from benchmarks.processes import EWMS, ServerFailed, serving
from benchmarks.scripted_wms import scripted_wms
from benchmarks.site import Kind, Site

__all__ = ["ROW"]

_TASKFORCES = 1_000
_SCHEDD = "osg"


@asynccontextmanager
async def _ours(site: Site, _kind: Kind) -> AsyncIterator[Round]:
    number = site.scale.of(_TASKFORCES)
    with condor_site() as pool:
        async with (
            scripted_wms() as wms,
            serving(*_tms(pool, wms.address), log=site.log_of("tms"), says="watching"),
        ):

            async def measure() -> float:
                run = uuid4().hex[:8]
                starts = [assignment(f"TF-{run}-{n}") for n in range(number)]
                begin = time.perf_counter()
                clusters = await wms.start(starts)
                seconds = time.perf_counter() - begin
                await wms.stop(clusters)
                return number / seconds

            yield measure


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
    what=f"taskforces submitted/s, {_TASKFORCES} on one schedd, one TMS",
    limit_is="bare htcondor2 loop, the same descriptions",
    unit=Unit.RATE,
    required=at_least(0.7),
    goal=at_least(0.9),
    ours=_ours,
    limit=_limit,
    needs="an HTCondor pool",
    rounds=3,
)


def _tms(pool: CondorSite, wms: str) -> tuple[str, ...]:
    return pool.command(
        EWMS, "tms", "--grid", "condor", "--schedd", _SCHEDD,
        "--condor-schedds", f"{_SCHEDD}={pool.schedd}", "--condor-config", str(pool.config),
        "--condor-tokens", str(pool.tokens), "--data", str(pool.folder / "tms"),
        "--pilot", "/bin/true", "--wms", wms,
    )  # fmt: skip
