"""The brokers that the suite runs against. A new one adds a harness here and passes every test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from broker_harness import Harness, postgres_harness

from ewms_mqs.server import MIGRATIONS, SCHEMA
from ewms_postgres.migrations import upgrade


@pytest.fixture(scope="session")
def broker_database(postgres_server: str, session_loop: asyncio.Runner) -> Iterator[str]:
    """URL of a database that all tests of brokers share, each with queues of its own."""
    url = urlunsplit(urlsplit(postgres_server)._replace(path="/test_brokers"))

    async def administer(*commands: str) -> None:
        connection = await asyncpg.connect(postgres_server)
        try:
            for command in commands:
                await connection.execute(command)
        finally:
            await connection.close()

    drop = "DROP DATABASE IF EXISTS test_brokers WITH (FORCE)"
    session_loop.run(administer(drop, "CREATE DATABASE test_brokers TEMPLATE template0"))
    session_loop.run(upgrade(url, script_location=MIGRATIONS, schema=SCHEMA))
    yield url
    session_loop.run(administer(drop))


@pytest.fixture(params=[postgres_harness], ids=["postgres"])
async def harness(request: pytest.FixtureRequest, broker_database: str) -> AsyncIterator[Harness]:
    """A broker."""
    async with request.param(broker_database) as made:
        yield made
