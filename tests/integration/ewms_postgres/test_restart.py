"""Everything that holds a connection survives a restart of the server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

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


async def test_the_driver_logs_no_traces_while_the_server_is_away(
    server: RestartableServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_database(server.url, application_name="test", min_size=4) as db:
        await server.stop()
        for _ in range(4):
            with pytest.raises(DatabaseUnavailable):
                await db.fetchval(ONE)
        await server.start()
        assert await db.fetchval(ONE) == 1
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_an_outage_is_one_warning_of_each_loop(server: RestartableServer) -> None:
    gaps = asyncio.Semaphore(0)
    tried: list[str] = []

    def noted(_: Any, level: str, event: dict[str, Any]) -> dict[str, Any]:
        tried.append(level)
        if tried.count("debug") == 3:
            tried_again.set()
        return event

    tried_again = asyncio.Event()
    listener = Listener(server.url, ["task"], on_notification=lambda *_: None, on_gap=gaps.release)
    with capture_logs(processors=[noted]):
        async with asyncio.timeout(20):
            listening = asyncio.create_task(listener.run())
            await gaps.acquire()
            for outage in (1, 2):
                tried_again.clear()
                tried.clear()
                await server.stop()
                await tried_again.wait()
                await server.start()
                await gaps.acquire()
                assert tried.count("warning") == 1, outage
            listening.cancel()


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
