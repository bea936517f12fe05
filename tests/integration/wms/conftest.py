"""Databases of a WMS and an MQS, made from a template, and the stack on one of them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from wms_stack import Stack, Wms, an_mqs

from ewms_postgres.migrations import upgrade
from wms_grpc.server import MIGRATIONS, SCHEMA


def _at(server: str, name: str) -> str:
    return urlunsplit(urlsplit(server)._replace(path=f"/{name}"))


async def _administer(server: str, sql: str) -> None:
    connection = await asyncpg.connect(server)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def stack_template(postgres_server: str, session_loop: asyncio.Runner) -> Iterator[str]:
    """Name of a database with the schemas of WMS and MQS, and the MQS's keys."""
    name = f"template_{uuid.uuid4().hex[:16]}"

    async def make() -> None:
        await _administer(postgres_server, f"CREATE DATABASE {name} TEMPLATE template0")
        url = _at(postgres_server, name)
        await upgrade(url, script_location=MIGRATIONS, schema=SCHEMA)
        async with an_mqs(url):
            pass

    session_loop.run(make())
    yield name
    session_loop.run(_administer(postgres_server, f"DROP DATABASE {name} WITH (FORCE)"))


@contextmanager
def _fresh(server: str, template: str, loop: asyncio.Runner) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex[:16]}"
    loop.run(_administer(server, f"CREATE DATABASE {name} TEMPLATE {template}"))
    yield _at(server, name)
    loop.run(_administer(server, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def stack_database(
    postgres_server: str, session_loop: asyncio.Runner, stack_template: str
) -> Iterator[str]:
    """URL of a fresh database for a stack; dropped at the test's end."""
    with _fresh(postgres_server, stack_template, session_loop) as url:
        yield url


@pytest.fixture(scope="module")
def module_database(
    postgres_server: str, session_loop: asyncio.Runner, stack_template: str
) -> Iterator[str]:
    """URL of a fresh database for all tests of a module that write nothing."""
    with _fresh(postgres_server, stack_template, session_loop) as url:
        yield url


@pytest.fixture
async def stack(stack_database: str) -> AsyncIterator[Stack]:
    """Starts what a test asks for."""
    stack = Stack(stack_database)
    yield stack
    await stack.close()


@pytest.fixture
async def wms(stack: Stack) -> Wms:
    """A WMS with an MQS beside it."""
    await stack.mqs()
    return await stack.wms()


@pytest.fixture
async def lone_wms(stack: Stack) -> Wms:
    """A WMS whose MQS is not there."""
    return await stack.wms()
