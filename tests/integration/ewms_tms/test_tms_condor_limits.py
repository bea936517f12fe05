"""What a real pool decides itself: who is held and shows why, and who runs again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from condor_pool import RealPool
from condor_runs import PATIENCE, logged
from tms_fake_wms import FakeWms
from tms_process import TmsProcess

from ewms.wms.v1 import tms_service_pb2 as tms
from ewms_tms.job_events import EventKind

pytestmark = pytest.mark.timeout(300)

TmsMaker = Callable[..., TmsProcess]
StartMaker = Callable[..., tms.StartAssignment]

MEMORY = "HELD: memory usage exceeds what was asked for (code 3, subcode 34)"
RUN_TIME = "HELD: the allowed job duration was exceeded (code 46, subcode 0)"
# Each taskforce's script, by the memory that it asked for.
SCRIPT = """
case $(sed -n 's/^RequestMemory *= *//p' "$_CONDOR_JOB_AD") in
64) exec python3 -c "x = b'1' * (200 << 20); import time; time.sleep(600)" ;;
65) exec sleep 600 ;;
66) test -e {place}/again && exit 3; touch {place}/again; exit 137 ;;
esac
"""


async def test_memory_and_run_time_bind_and_what_a_signal_ended_runs_again(
    wms: FakeWms, new_condor_tms: TmsMaker, new_start: StartMaker, pool: RealPool
) -> None:
    process = new_condor_tms(SCRIPT.format(place=pool.place))
    await process.begin()
    greedy, slow, signalled = map(pool.taskforce, range(3))
    await wms.start(new_start(greedy, memory="64M"))
    await wms.start(new_start(slow, memory="65M", runtime=1))
    await wms.start(new_start(signalled, memory="66M"))

    await wms.until(lambda: set(wms.statuses.get(greedy, ())) == {MEMORY}, PATIENCE)
    await wms.until(lambda: set(wms.statuses.get(slow, ())) == {RUN_TIME}, PATIENCE)
    assert any("Memory usage" in error for error in wms.errors[greedy])
    for uuid in (greedy, slow):
        await wms.stop(uuid)

    await wms.until(lambda: wms.is_done(greedy, slow, signalled), PATIENCE)
    # A container's runtime turns a signal into an exit code from 128 on.
    (outcome,) = wms.completed[signalled].outcomes
    assert (outcome.exit_code, outcome.count) == (3, 1)
    cluster = wms.clusters[signalled]
    starts = [e for e in logged(pool) if e.cluster == cluster and e.kind is EventKind.EXECUTE]
    assert len(starts) == 2
