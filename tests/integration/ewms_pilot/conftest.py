"""A broker on a socket, and a pool of pilots."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pilot_event_server import EventServer
from pilot_pool import Gate, Pool


@pytest.fixture
async def server() -> AsyncIterator[EventServer]:
    server = EventServer()
    await server.start()
    yield server
    await server.cut_off()


@pytest.fixture
async def pool(server: EventServer, tmp_path: Path) -> AsyncIterator[Pool]:
    pool = Pool(server, tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.setblocking(False)
        receiver.bind(str(tmp_path / "chirps"))
        hearing = asyncio.create_task(pool.hear(receiver))
        yield pool
        for pilot in pool.pilots:
            if pilot.process.returncode is None:
                pilot.kill()
            await pilot.ended()
            print(pilot.log.decode())  # noqa: T201 (pytest shows it when the test fails)
        hearing.cancel()


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)
