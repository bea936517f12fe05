"""`make demo-real`: the system on what its users really have, and a check of all that comes out.

An HTCondor pool with two schedds (one that runs here already, or one of its own), a TMS for each; a
RabbitMQ and an outside PostgreSQL of its own, whose schemas one role makes and another one uses. A
workflow of ten workers on both schedds works on some thousand events; every result is compared,
then the workflow is finished, and neither queues nor jobs may be left. Ends with 0 only if all of
that happened. Everything that it started is stopped on the way out, after a Ctrl-C too.

With `--kills` every part is killed in the middle, the schedd, RabbitMQ, PostgreSQL and PgBouncer
among them, and started again: then results may come more than once, and that is all.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from demo_parts import DemoFailed, say
from demo_real_kills import kill_each
from demo_real_stack import RealStack
from demo_real_workflow import RealWorkflow

from ewms_client import ClientError, RpcError

_EVENTS = 3000


@dataclass(frozen=True)
class Plan:
    """What is to be shown."""

    n_events: int
    with_kills: bool
    spare_schedd: bool
    keep: bool


async def show(plan: Plan, folder: Path) -> None:
    """The whole demo. Raises DemoFailed."""
    async with AsyncExitStack() as way_out:
        stack = RealStack(folder, pooled=plan.with_kills)
        way_out.push_async_callback(stack.end)
        await stack.start()
        workflow = await way_out.enter_async_context(RealWorkflow(stack, plan.n_events))
        await workflow.submit()
        await workflow.until_work_begins()
        if plan.with_kills:
            await kill_each(stack, workflow, spare_schedd=plan.spare_schedd)
            await workflow.succeed()
        else:
            await workflow.publish(workflow.events)
            await workflow.finish()
        await workflow.check_nothing_is_left()
        await stack.stop()


def _parsed(arguments: list[str]) -> Plan:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=_EVENTS, help=f"how many; {_EVENTS}")
    parser.add_argument("--kills", action="store_true", help="kill every part in the middle")
    parser.add_argument("--spare-schedd", action="store_true", help="but not a pool's of others")
    parser.add_argument("--keep", action="store_true", help="keep the folder with all logs")
    given = parser.parse_args(arguments)
    return Plan(given.events, given.kills, given.spare_schedd, given.keep)


async def _until_signalled(plan: Plan, folder: Path) -> int:
    """Run it; the first SIGINT or SIGTERM ends it in order, further ones change nothing."""
    showing = asyncio.ensure_future(show(plan, folder))
    signals: list[int] = []

    def stop(number: int) -> None:
        if not signals:
            showing.cancel()
        say("still stopping" if signals else "interrupted: stopping what was started")
        signals.append(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
    try:
        await showing
    except asyncio.CancelledError:
        return 128 + signals[0]
    except (DemoFailed, ClientError, RpcError) as failure:
        say(f"FAILED: {failure}")
        return 1
    say("done")
    return 0


def main(arguments: list[str]) -> int:
    """Run the demo; return the exit code."""
    plan = _parsed(arguments)
    if os.geteuid() != 0:
        say("needs root: the pool's jobs belong to an account of its own")
        return 2
    folder = Path(tempfile.mkdtemp(prefix="ewms-demo-real-"))
    # PostgreSQL's account passes through.
    folder.chmod(0o711)
    code = 1
    try:
        code = asyncio.run(_until_signalled(plan, folder))
    finally:
        if plan.keep or code == 1:
            say(f"logs are in {folder}")
        else:
            shutil.rmtree(folder)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
