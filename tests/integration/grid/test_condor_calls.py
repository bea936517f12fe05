"""Calls to HTCondor by way of the helper, and what its death does to them. No pool is needed."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
from contextlib import suppress

import pytest
import uvloop

from ewms_tms.grid import GridUnavailable
from ewms_tms.grid.condor_calls import CondorCalls
from ewms_tms.grid.condor_messages import MeasureRoom

# Not imported here: the bindings change the environment of who imports them.
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("htcondor2") is None,
    reason="no HTCondor bindings (pip install htcondor)",
)

NOBODY = {"CONDOR_CONFIG": "ONLY_ENV", "_CONDOR_COLLECTOR_HOST": "127.0.0.1:1"}


@pytest.mark.parametrize("n_steps", [0, 1, 2, 5])
@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_helper_that_died_unasked_is_replaced_however_much_of_its_death_is_known(
    loop: type, n_steps: int
) -> None:
    async def ask_after_its_death() -> None:
        calls = CondorCalls(NOBODY)
        await answered(calls)
        killed = calls.helper_pid
        assert killed is not None
        await die(killed)
        for _ in range(n_steps):
            await asyncio.sleep(0)
        # At most the first call is lost with it.
        with suppress(GridUnavailable):
            await calls.do(MeasureRoom())
        await answered(calls)
        assert calls.helper_pid not in (None, killed)
        await calls.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(ask_after_its_death())


async def die(pid: int) -> None:
    """Kill it, until the kernel says that it is dead; the loop may not know all of it yet."""
    descriptor = os.pidfd_open(pid)
    is_dead = asyncio.Event()
    asyncio.get_running_loop().add_reader(descriptor, is_dead.set)
    os.kill(pid, signal.SIGKILL)
    await is_dead.wait()
    asyncio.get_running_loop().remove_reader(descriptor)
    os.close(descriptor)


async def answered(calls: CondorCalls) -> None:
    """Until a helper has said that there is no pool."""
    with pytest.raises(GridUnavailable, match="HTCondor: "):
        await calls.do(MeasureRoom())
