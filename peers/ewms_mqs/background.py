"""Loops beside the server: all of them end with the block, and one that fails ends the block.

A loop survives its dependencies by itself; what still escapes it is a fault of ours, and better
seen at once by whoever starts this program again than lived with.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog

from ewms_postgres.backoff import Backoff
from ewms_postgres.errors import DatabaseError
from ewms_rpc.metrics import loop_failed

__all__ = ["background_tasks", "repeat", "through_outages"]

_log = structlog.get_logger(__name__)

# What ran for so long has not failed at the outage of before.
_CALM_SECONDS = 10.0


@asynccontextmanager
async def background_tasks() -> AsyncIterator[asyncio.TaskGroup]:
    """A group whose tasks are cancelled at the end of the block.

    Raises what the block or a task has raised, without a group around it if it is one error.
    """
    ready: asyncio.Future[asyncio.TaskGroup] = asyncio.get_running_loop().create_future()

    async def hold() -> None:
        async with asyncio.TaskGroup() as tasks:
            ready.set_result(tasks)
            await asyncio.Event().wait()

    try:
        async with asyncio.TaskGroup() as group:
            holder = group.create_task(hold())
            try:
                yield await ready
            finally:
                holder.cancel()
    except BaseExceptionGroup as failures:
        failure: BaseException = failures
        while isinstance(failure, BaseExceptionGroup) and len(failure.exceptions) == 1:
            failure = failure.exceptions[0]
        raise failure from None


async def through_outages(name: str, loop: Callable[[], Awaitable[None]]) -> None:
    """Run a loop until it returns, again from its beginning whenever the database fails it."""
    backoff = Backoff()
    while True:
        began = time.monotonic()
        try:
            await loop()
            return
        except DatabaseError as error:
            loop_failed(name)
            if time.monotonic() - began > _CALM_SECONDS:
                backoff.reset()
            _log.log(backoff.level, "waits for the database", name=name, reason=str(error))
        await backoff.wait()


async def repeat(name: str, every: float, work: Callable[[], Awaitable[object]]) -> None:
    """Do the work about every so many seconds until cancelled, through outages of the database."""
    level = logging.WARNING
    while True:
        # Several processes that were started together do not all come at once.
        await asyncio.sleep(every * random.uniform(0.8, 1.2))
        try:
            await work()
            level = logging.WARNING
        except DatabaseError as error:
            loop_failed(name)
            _log.log(level, "put off", name=name, reason=str(error))
            # An outage is told of once.
            level = logging.DEBUG
