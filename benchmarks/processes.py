"""Servers in processes of their own: started, found by what they print, seen to their end."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["EWMS", "ServerFailed", "ServerProcess", "bare_server", "serving"]

EWMS = str(Path(sys.executable).with_name("ewms"))

_START_SECONDS = 120.0
_STOP_SECONDS = 15.0


class ServerFailed(Exception):
    """A server ended, or said nothing, before it served."""


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A server: the line by which it said that it serves, and its process."""

    announcement: str
    pid: int

    @property
    def address(self) -> str:
        """Where it listens, for servers whose announcement ends with that."""
        return self.announcement.rsplit(" ", 1)[-1]


@asynccontextmanager
async def serving(*command: str, log: Path, says: str) -> AsyncIterator[ServerProcess]:
    """Run a command from the line on stdout that begins with `says` until the block's end.

    Its stderr goes to the file `log`. Raises ServerFailed.
    """
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
        )
    draining: asyncio.Task[None] | None = None
    try:
        announcement = await _announced(process, says)
        if announcement is None:
            raise ServerFailed(f"{' '.join(command)} does not start; see {log}")
        draining = asyncio.create_task(_drained(process))
        yield ServerProcess(announcement, process.pid)
    finally:
        await _ended(process)
        if draining is not None:
            await draining


def bare_server(row: str, url: str) -> tuple[str, ...]:
    """The command that serves a row's limit: bare grpc.aio on bare asyncpg."""
    return (sys.executable, "-m", "benchmarks.bare", row, url)


async def _announced(process: asyncio.subprocess.Process, says: str) -> str | None:
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_START_SECONDS):
            while line := await process.stdout.readline():
                if line.decode().startswith(says):
                    return line.decode().strip()
    except TimeoutError:
        pass
    return None


async def _drained(process: asyncio.subprocess.Process) -> None:
    """Read what nobody wants to know, so that the pipe never fills."""
    assert process.stdout is not None
    while await process.stdout.read(65536):
        pass


async def _ended(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
