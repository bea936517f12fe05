"""Statements behind PgBouncer that are given up, or take too long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest
from conftest import Site

from ewms_postgres.database import Database, open_database
from ewms_postgres.errors import StatementTimeout
from ewms_postgres.statements import statement

SLEEP = statement("SELECT pg_sleep(60)")
SLEEPING = (
    "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)' AND state = 'active'"
)
ONE = statement("SELECT 1")
# The server looks every five seconds whether somebody still listens.
PATIENCE = 20.0


@pytest.fixture
async def direct(site: Site) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    env = site.direct
    connection = await asyncpg.connect(env["EWMS_WMS_DATABASE"], passfile=env["PGPASSFILE"])
    yield connection
    await connection.close()


@pytest.fixture
def pooled_url(site: Site, monkeypatch: pytest.MonkeyPatch) -> str:
    env = site.pooled
    monkeypatch.setenv("PGPASSFILE", env["PGPASSFILE"])
    return env["EWMS_WMS_DATABASE"]


async def until_sleeping(connection: asyncpg.Connection[asyncpg.Record], count: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while await connection.fetchval(SLEEPING) != count:
            pass


async def sleep(db: Database) -> None:
    await db.execute(SLEEP)


async def test_a_call_that_is_cancelled_sends_the_pooler_no_cancel_request(
    site: Site, pooled_url: str, direct: asyncpg.Connection[asyncpg.Record]
) -> None:
    async with open_database(pooled_url, application_name="test", pooled=True, max_size=2) as db:
        call = asyncio.create_task(sleep(db))
        await until_sleeping(direct, 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        # Its connection is replaced, and the server gives the statement up by itself.
        assert await db.fetchval(ONE) == 1
        await until_sleeping(direct, 0)
    assert "cancel request" not in await asyncio.to_thread(lambda: site.server.pooler_log)


async def test_a_statement_that_takes_too_long_is_ended_and_its_connection_replaced(
    site: Site, pooled_url: str, direct: asyncpg.Connection[asyncpg.Record]
) -> None:
    limit = timedelta(seconds=0.5)
    async with open_database(
        pooled_url, application_name="test", pooled=True, max_size=2, statement_timeout=limit
    ) as db:
        with pytest.raises(StatementTimeout):
            await db.execute(SLEEP)
        assert await db.fetchval(ONE) == 1
        await until_sleeping(direct, 0)
    assert "cancel request" not in await asyncio.to_thread(lambda: site.server.pooler_log)


async def test_the_server_itself_limits_statements_behind_a_pooler(
    site: Site, direct: asyncpg.Connection[asyncpg.Record]
) -> None:
    """In case nobody is there to give one up."""
    assert await direct.fetchval("SHOW statement_timeout") == "65s"
    assert await direct.fetchval("SHOW idle_in_transaction_session_timeout") == "30s"
