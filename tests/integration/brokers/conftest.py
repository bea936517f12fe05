"""The brokers that the suites run against: one for what EventService serves, asked of the broker
itself, and one for what a client sees, asked of every broker. A new one adds a harness here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from broker_harness import Harness, postgres_harness
from mqs_under_test import MqsUnderTest
from rabbitmq_node import RabbitNode

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


@pytest.fixture(params=["postgres", "rabbitmq"])
def broker_settings(request: pytest.FixtureRequest) -> dict[str, object]:
    """The settings of an MQS that say where its queues are."""
    if request.param == "postgres":
        return {}
    node: RabbitNode = request.getfixturevalue("rabbitmq_node")
    return node.settings(request.getfixturevalue("rabbitmq_vhost"))


@pytest.fixture
async def mqs(database_url: str, broker_settings: dict[str, object]) -> AsyncIterator[MqsUnderTest]:
    """An MQS on a broker, with a workflow whose queues `in` and `out` are granted."""
    made = MqsUnderTest(database_url, broker_settings)
    await made.start()
    try:
        await made.grant("in", "out")
        yield made
    finally:
        await made.end()
