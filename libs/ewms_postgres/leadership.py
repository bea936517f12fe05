"""One process of many runs a loop: elected by an advisory lock, followed as soon as it dies.

The lock lives as long as its connection, and the loop is cancelled when that is lost. The server
may notice a loss before the old leader does, so for up to ten seconds there may be two: election
saves work and does not protect data; what must not happen twice is guarded by rows.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import asyncpg
import structlog

from ewms_postgres.advisory_lock import hold_advisory_lock
from ewms_postgres.backoff import Backoff
from ewms_postgres.connection import held_connection, watch_connection
from ewms_postgres.errors import DatabaseError

__all__ = ["run_elected"]

_log = structlog.get_logger(__name__)

_PROBE_EVERY = timedelta(seconds=5)
# A shorter term has failed at what it needs: the pooler is away, say, and the server is not.
_WHOLE_TERM_SECONDS = 10.0


async def run_elected(
    db_url: str,
    name: str,
    body: Callable[[], Awaitable[None]],
    *,
    application_name: str = "ewms-leader",
) -> None:
    """Run `body` while this process is the leader, again after each election, until it returns.

    Parameters
    ----------
    db_url
        The database's server itself, not a pooler.
    name
        What is led; those who give the same name in the same database elect one among them.
    body
        Runs from election on, and is cancelled when leadership may be lost. A DatabaseError of
        it ends its term and leads to a new election; any other error is raised.
    """
    backoff = Backoff()
    while True:
        elected_at = math.inf
        try:
            async with held_connection(db_url, application_name=application_name) as connection:
                await hold_advisory_lock(connection, f"leader of {name}")
                elected_at = time.monotonic()
                _log.info("elected", name=name)
                await _lead(connection, body)
                return
        except DatabaseError as error:
            if time.monotonic() - elected_at > _WHOLE_TERM_SECONDS:
                backoff.reset()
            _log.log(backoff.level, "leadership lost or out of reach", name=name, reason=str(error))
        await backoff.wait()


async def _lead(connection: asyncpg.Connection[Any], body: Callable[[], Awaitable[None]]) -> None:
    async def run_body() -> None:
        await body()

    term = asyncio.create_task(run_body())
    watch = asyncio.create_task(watch_connection(connection, every=_PROBE_EVERY))
    try:
        await asyncio.wait([term, watch], return_when=asyncio.FIRST_COMPLETED)
    finally:
        ended_by_itself = term.done()
        term.cancel()
        watch.cancel()
        await asyncio.wait([term, watch])
    await (term if ended_by_itself else watch)
