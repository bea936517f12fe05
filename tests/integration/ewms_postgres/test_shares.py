"""Calls and loops share a pool: neither side can keep the other from the database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from datetime import timedelta

import pytest

from ewms_postgres.database import Database, open_database
from ewms_postgres.errors import DatabaseUnavailable
from ewms_postgres.shares import beside_calls
from ewms_postgres.statements import statement

ONE = statement("SELECT 1")
PATIENCE = 20.0


class Flood:
    """Tasks that hold all connections they can get until they are let go, and more who wait."""

    def __init__(self, db: Database, size: int) -> None:
        self._db, self._size = db, size
        self._let_go = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def rise(self, *, of_loops: bool, holding: int) -> None:
        held = asyncio.Semaphore(0)

        async def hold() -> None:
            async with self._db.transaction() as tx:
                await tx.fetchval(ONE)
                held.release()
                await self._let_go.wait()

        with beside_calls() if of_loops else nullcontext():
            self._tasks = [asyncio.create_task(hold()) for _ in range(self._size)]
        async with asyncio.timeout(PATIENCE):
            for _ in range(holding):
                await held.acquire()

    async def subside(self) -> list[BaseException | None]:
        self._let_go.set()
        return await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def flood(db: Database, *, of_loops: bool, holding: int) -> AsyncIterator[Flood]:
    """A hundred of one side, `holding` of which have a connection."""
    rising = Flood(db, 100)
    await rising.rise(of_loops=of_loops, holding=holding)
    try:
        yield rising
    finally:
        assert await rising.subside() == [None] * 100


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url, application_name="test", max_size=8) as database:
        yield database


async def as_loop(db: Database) -> int:
    with beside_calls():
        task = asyncio.create_task(db.fetchval(ONE))
    return int(await task)


async def test_a_flood_of_calls_leaves_loops_their_share(db: Database) -> None:
    async with flood(db, of_loops=False, holding=6):
        assert db.usage.n_in_use == 6
        async with asyncio.timeout(PATIENCE):
            assert [await as_loop(db) for _ in range(20)] == [1] * 20


async def test_a_flood_of_loops_leaves_calls_their_share(db: Database) -> None:
    async with flood(db, of_loops=True, holding=6):
        assert db.usage.n_in_use == 6
        async with asyncio.timeout(PATIENCE):
            assert [await db.fetchval(ONE) for _ in range(20)] == [1] * 20


async def test_each_side_is_told_when_its_own_share_is_used_up(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AsyncExitStack() as held:
        for _ in range(6):
            await held.enter_async_context(db.transaction())
        monkeypatch.setattr("ewms_postgres.database._ACQUIRE_DEADLINE", timedelta(seconds=0.05))
        with pytest.raises(DatabaseUnavailable, match="no database connection for calls"):
            await db.fetchval(ONE)
        assert await as_loop(db) == 1


async def test_a_connection_is_given_back_by_whoever_is_cancelled_while_he_waits(
    db: Database,
) -> None:
    async with flood(db, of_loops=False, holding=6):
        waiting = [asyncio.create_task(db.fetchval(ONE)) for _ in range(10)]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
    # All of the calls' share is there again.
    async with AsyncExitStack() as held, asyncio.timeout(PATIENCE):
        for _ in range(6):
            await held.enter_async_context(db.transaction())


async def test_what_a_loop_starts_is_a_loop_s_too(db: Database) -> None:
    async def parent() -> int:
        async with asyncio.TaskGroup() as group:
            child = group.create_task(db.fetchval(ONE))
        return int(child.result())

    async with flood(db, of_loops=False, holding=6), asyncio.timeout(PATIENCE):
        with beside_calls():
            task = asyncio.create_task(parent())
        assert await task == 1
