"""Every part of the real demo is killed in the middle of the work and started again.

A service manager would do the latter; for the schedd its master does. Work goes on by itself.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from demo_parts import say
from demo_real_stack import RealStack
from demo_real_workflow import RealWorkflow

__all__ = ["kill_each"]


@dataclass(frozen=True)
class _Victim:
    """What is killed, and how it comes back; both have happened when they return."""

    name: str
    kill: Callable[[], Awaitable[None]]
    revive: Callable[[], Awaitable[None]]


async def kill_each(stack: RealStack, workflow: RealWorkflow, *, spare_schedd: bool) -> None:
    """A share of the events for each victim, which is killed while they are worked on.

    All results of a share must come before the next one begins.
    """
    victims = _victims(stack)[1 if spare_schedd else 0 :]
    wanted = 0
    for victim, share in zip(victims, _shares(workflow.events, len(victims)), strict=True):
        publishing = asyncio.create_task(workflow.publish(share))
        try:
            await workflow.until_results(wanted + len(share) // 4)
            say(f"killing {victim.name}")
            await victim.kill()
            killed = time.monotonic()
            await victim.revive()
            say(f"{victim.name} is back after {time.monotonic() - killed:.1f} s")
            await publishing
            wanted += len(share)
            await workflow.until_results(wanted)
            say(f"all {wanted} results so far are there {time.monotonic() - killed:.1f} s after it")
        finally:
            publishing.cancel()


def _victims(stack: RealStack) -> list[_Victim]:
    site = [
        _Victim("the schedd of the south", stack.pool.kill_schedd, stack.pool.await_schedd),
        _Victim("RabbitMQ", stack.rabbit.kill, stack.rabbit.start),
        _Victim("PostgreSQL", stack.postgres.kill, stack.postgres.start),
        _Victim("PgBouncer", stack.postgres.kill_pooler, stack.postgres.start),
    ]
    return [*site, *(_Victim(part.name, part.kill, part.start) for part in stack.parts.values())]


def _shares(events: Mapping[str, bytes], count: int) -> list[dict[str, bytes]]:
    """The events, dealt out evenly."""
    dealt = ([*itertools.islice(events.items(), first, None, count)] for first in range(count))
    return [dict(share) for share in dealt]
