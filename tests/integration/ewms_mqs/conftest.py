"""An MQS on a real socket and a real database, and a client that speaks to it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from mqs_client import Client, Start
from mqs_process import MqsProcess, Spawn

from ewms.mqs.v1.event_service_pb2_grpc import EventServiceStub
from ewms.mqs.v1.mqs_service_pb2_grpc import MqsServiceStub
from ewms_mqs.config import MqsSettings
from ewms_mqs.server import mqs_server
from ewms_rpc.channel import open_channel

Administer = Callable[..., None]
_TEMPLATE = "test_mqs_template"


@pytest.fixture(scope="session")
def administer(postgres_server: str, session_loop: asyncio.Runner) -> Administer:
    """Runs commands on the server's maintenance database."""

    async def run(*commands: str) -> None:
        connection = await asyncpg.connect(postgres_server)
        try:
            for command in commands:
                await connection.execute(command)
        finally:
            await connection.close()

    return lambda *commands: session_loop.run(run(*commands))


@pytest.fixture(scope="session")
def mqs_template(
    postgres_server: str, session_loop: asyncio.Runner, administer: Administer
) -> Iterator[str]:
    """Name of a database in which an MQS has run once: with its schema and its keys."""
    drop = f"DROP DATABASE IF EXISTS {_TEMPLATE} WITH (FORCE)"
    administer(drop, f"CREATE DATABASE {_TEMPLATE} TEMPLATE template0")
    url = urlunsplit(urlsplit(postgres_server)._replace(path=f"/{_TEMPLATE}"))

    async def run_once() -> None:
        async with mqs_server(MqsSettings(database=url, listen="127.0.0.1:0")):
            pass

    session_loop.run(run_once())
    yield _TEMPLATE
    administer(drop)


@pytest.fixture
def mqs_database(postgres_server: str, administer: Administer, mqs_template: str) -> Iterator[str]:
    """URL of a database of the test's own, which an MQS finds as it was left by another."""
    name = f"test_{uuid.uuid4().hex[:16]}"
    administer(f"CREATE DATABASE {name} TEMPLATE {mqs_template}")
    yield urlunsplit(urlsplit(postgres_server)._replace(path=f"/{name}"))
    administer(f"DROP DATABASE {name} WITH (FORCE)")


@asynccontextmanager
async def connected(settings: MqsSettings) -> AsyncIterator[Client]:
    async with mqs_server(settings) as running, open_channel(running.address) as channel:
        yield Client(running, MqsServiceStub(channel), EventServiceStub(channel))


@pytest.fixture
async def start(mqs_database: str) -> AsyncIterator[Start]:
    """Starts MQS servers on the test's database."""
    async with AsyncExitStack() as stack:

        async def start_one(**settings: object) -> Client:
            chosen = MqsSettings(
                **{"database": mqs_database, "listen": "127.0.0.1:0", "log_level": "INFO"}
                | settings
            )
            return await stack.enter_async_context(connected(chosen))

        yield start_one


@pytest.fixture
async def client(start: Start) -> Client:
    """A client of an MQS with short leases."""
    return await start(lease=timedelta(seconds=2))


@pytest.fixture
async def spawn(mqs_database: str) -> AsyncIterator[Spawn]:
    """Starts `ewms mqs` as processes, on the test's database."""
    async with AsyncExitStack() as stack:

        async def spawn_one(**settings: str) -> MqsProcess:
            process = MqsProcess({"database": mqs_database, "listen": "127.0.0.1:0"} | settings)
            return await stack.enter_async_context(process)

        yield spawn_one
