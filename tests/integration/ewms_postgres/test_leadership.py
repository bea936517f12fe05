from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg
import pytest

from ewms_postgres.errors import DatabaseUnavailable
from ewms_postgres.leadership import run_elected

LEAD_FOREVER = """
import asyncio, sys
from ewms_postgres.leadership import run_elected
async def body():
    print("elected", file=sys.stderr, flush=True)
    await asyncio.Event().wait()
asyncio.run(run_elected(sys.argv[1], "loop", body))
"""


class Term:
    """A body that reports when it begins and ends, and lasts until it is told."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()
        self.finish = asyncio.Event()
        self.count = 0

    async def __call__(self) -> None:
        self.count += 1
        self.begun.set()
        try:
            await self.finish.wait()
        finally:
            self.ended.set()


@asynccontextmanager
async def candidate(
    url: str, body: Callable[[], Awaitable[None]], name: str = "loop"
) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(run_elected(url, name, body))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def within(seconds: float, event: asyncio.Event) -> None:
    async with asyncio.timeout(seconds):
        await event.wait()


async def waiting_for_the_lock(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        async with asyncio.timeout(10):
            while not await connection.fetchval(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            ):
                pass
    finally:
        await connection.close()


async def test_one_of_two_leads_and_the_other_follows(database_url: str) -> None:
    first, second = Term(), Term()
    async with candidate(database_url, first) as leader:
        await within(10, first.begun)
        async with candidate(database_url, second):
            await waiting_for_the_lock(database_url)
            assert not second.begun.is_set()
            first.finish.set()
            await leader
            await within(1, second.begun)


async def test_different_names_are_led_side_by_side(database_url: str) -> None:
    one, other = Term(), Term()
    async with candidate(database_url, one, "one"), candidate(database_url, other, "other"):
        await within(10, one.begun)
        await within(10, other.begun)


async def test_a_killed_leader_is_followed_at_once(database_url: str) -> None:
    term = Term()
    leader = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LEAD_FOREVER, database_url, stderr=subprocess.PIPE
    )
    assert leader.stderr is not None
    assert await leader.stderr.readline() == b"elected\n"
    async with candidate(database_url, term):
        await waiting_for_the_lock(database_url)
        leader.kill()
        await within(1, term.begun)
    await leader.wait()


async def test_a_body_that_loses_the_database_is_run_again(database_url: str) -> None:
    term = Term()

    async def stumble_once() -> None:
        await term()
        if term.count == 1:
            raise DatabaseUnavailable("away")

    term.finish.set()
    async with candidate(database_url, stumble_once) as leader, asyncio.timeout(10):
        await leader
    assert term.count == 2


async def test_a_body_that_fails_again_and_again_is_not_run_in_a_hurry(database_url: str) -> None:
    begun: list[float] = []

    async def body() -> None:
        begun.append(asyncio.get_running_loop().time())
        if len(begun) < 6:
            raise DatabaseUnavailable("the pooler is away, the server is not")

    await run_elected(database_url, "loop", body)
    waits = [later - earlier for earlier, later in itertools.pairwise(begun)]
    assert waits[-1] > 0.8, waits


async def test_an_error_of_the_body_is_raised(database_url: str) -> None:
    async def fail() -> None:
        raise KeyError("body")

    with pytest.raises(KeyError, match="body"):
        await run_elected(database_url, "loop", fail)


async def test_a_cancelled_leader_cancels_its_body_and_leaves_the_lock(database_url: str) -> None:
    first, second = Term(), Term()
    async with candidate(database_url, first) as leader:
        await within(10, first.begun)
        leader.cancel()
        await asyncio.wait([leader])
        assert leader.cancelled()
        assert first.ended.is_set()
        async with candidate(database_url, second):
            await within(1, second.begun)
