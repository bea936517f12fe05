"""Fixtures that all tests share: a PostgreSQL server for the session, a fresh database for each.

`EWMS_TEST_DATABASE` (a URL that may create databases) has an outside server used instead of the
embedded one, so that the same tests cover every version of PostgreSQL that we support.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from rabbitmq_node import RabbitNode, is_installed, running_node

from ewms_postgres.embedded import embedded_postgres

_REAL = (
    "integration/postgres_outside/",
    "integration/rabbitmq/",
    "integration/gateway/test_dagman_checker.py",
    "integration/ewms_tms/test_tms_condor",
    "integration/ewms_pilot/test_pilot_on_condor.py",
    "integration/ewms_pilot/test_one_file_pilot.py",
    "system/test_rabbitmq_stack.py",
    "system/test_real_stack.py",
    "[condor",
    "[rabbitmq",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave tests on a real pool, broker and database to who asks for them, as CI does."""
    if os.environ.get("EWMS_TEST_REAL"):
        return
    skip = pytest.mark.skip(reason="on real infrastructure: set EWMS_TEST_REAL=1 (docs)")
    for item in items:
        if any(name in item.nodeid for name in _REAL):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def session_loop() -> Iterator[asyncio.Runner]:
    """A loop beside those of the tests, for what outlives a test."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        yield runner


@pytest.fixture(scope="session")
def postgres_server(session_loop: asyncio.Runner) -> Iterator[str]:
    """URL of a server's maintenance database; the server lives as long as the session."""
    outside = os.environ.get("EWMS_TEST_DATABASE")
    if outside:
        yield outside
        return
    with tempfile.TemporaryDirectory(prefix="ewms-test-") as folder:
        use = embedded_postgres(Path(folder))
        server = session_loop.run(use.__aenter__())
        try:
            yield server.url("postgres")
        finally:
            session_loop.run(use.__aexit__(None, None, None))


@pytest.fixture
def database_url(postgres_server: str, session_loop: asyncio.Runner) -> Iterator[str]:
    """URL of an empty database that only this test uses; dropped at its end, used or not."""
    name = f"test_{uuid.uuid4().hex[:16]}"

    async def administer(sql: str) -> None:
        connection = await asyncpg.connect(postgres_server)
        try:
            await connection.execute(sql)
        finally:
            await connection.close()

    session_loop.run(administer(f"CREATE DATABASE {name} TEMPLATE template0"))
    try:
        yield urlunsplit(urlsplit(postgres_server)._replace(path=f"/{name}"))
    finally:
        session_loop.run(administer(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="session")
def rabbitmq_node() -> Iterator[RabbitNode]:
    """A RabbitMQ node that lives as long as the session, or longer: tests may restart it."""
    if not is_installed():
        pytest.skip("RabbitMQ is not installed: make rabbitmq")
    with (
        tempfile.TemporaryDirectory(prefix="ewms-test-rabbitmq-") as folder,
        running_node(Path(folder)) as node,
    ):
        yield node


@pytest.fixture
def rabbitmq_vhost(rabbitmq_node: RabbitNode) -> Iterator[str]:
    """A virtual host that only this test uses."""
    with rabbitmq_node.vhost() as name:
        yield name
