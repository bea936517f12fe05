"""Everything that holds a connection survives a restart of the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ewms_postgres.cluster import Cluster
from ewms_postgres.database import open_database
from ewms_postgres.embedded import embedded_postgres
from ewms_postgres.errors import DatabaseUnavailable
from ewms_postgres.leadership import run_elected
from ewms_postgres.notifications import Listener, Notifier
from ewms_postgres.statements import statement

ONE = statement("SELECT 1")


@dataclass(frozen=True)
class RestartableServer:
    url: str
    cluster: Cluster

    async def stop(self) -> None:
        await asyncio.to_thread(self.cluster.stop)

    async def start(self) -> None:
        await asyncio.to_thread(self.cluster.ensure_running)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RestartableServer]:
    async with embedded_postgres(tmp_path) as running:
        yield RestartableServer(running.url("postgres"), Cluster(tmp_path))


async def test_a_pool_tells_that_the_server_is_away_and_finds_it_again(
    server: RestartableServer,
) -> None:
    async with open_database(server.url, application_name="test") as db:
        assert await db.fetchval(ONE) == 1
        await server.stop()
        with pytest.raises(DatabaseUnavailable):
            await db.fetchval(ONE)
        await server.start()
        assert await db.fetchval(ONE) == 1


async def test_a_pool_that_opens_before_the_server_waits_for_it(server: RestartableServer) -> None:
    await server.stop()
    async with asyncio.TaskGroup() as group:
        group.create_task(server.start())
        async with open_database(server.url, application_name="test") as db:
            assert await db.fetchval(ONE) == 1


async def test_listener_and_notifier_find_the_server_again(server: RestartableServer) -> None:
    gap, notified = asyncio.Event(), asyncio.Queue[str]()
    listener = Listener(
        server.url,
        ["task"],
        on_notification=lambda _channel, payload: notified.put_nowait(payload),
        on_gap=gap.set,
    )
    async with asyncio.timeout(20), Notifier(server.url) as notifier:
        listening = asyncio.create_task(listener.run())
        await gap.wait()
        gap.clear()
        await server.stop()
        assert not listener.connected.is_set()
        await server.start()
        await gap.wait()
        notifier.notify("task", "after")
        assert await notified.get() == "after"
        listening.cancel()


async def test_a_leader_stops_with_the_server_and_leads_again_after(
    server: RestartableServer,
) -> None:
    terms: asyncio.Queue[str] = asyncio.Queue()

    async def lead() -> None:
        terms.put_nowait("begun")
        try:
            await asyncio.Event().wait()
        finally:
            terms.put_nowait("ended")

    async with asyncio.timeout(20):
        leading = asyncio.create_task(run_elected(server.url, "loop", lead))
        assert await terms.get() == "begun"
        await server.stop()
        assert await terms.get() == "ended"
        await server.start()
        assert await terms.get() == "begun"
        leading.cancel()
        assert await terms.get() == "ended"
