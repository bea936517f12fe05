"""Runs commands through the spawner and waits for their end.

Guarantees that when `run` returns or raises, by success, time limit or cancellation, no process of
the command's group is left. What the command writes to stderr goes on to the pilot's own, and its
last 2,000 characters into the error. It must never block the event loop on a command.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import os
import signal
import socket
from pathlib import Path

from ewms_pilot.errors import (
    CommandFailed,
    CommandNotStarted,
    CommandTimedOut,
    SpawnerGone,
)
from ewms_pilot.runners import Invocation
from ewms_pilot.spawner import LENGTH, SpawnerLink

__all__ = ["CommandRunner"]

_LOG = logging.getLogger(__name__)
_TAIL = 2_000
_PIPE_GRACE = 0.5


class CommandRunner:
    """Commands of one pilot, any number at once.

    Parameters
    ----------
    spawner
        The pilot's ends of the connection to the spawner.
    kill_grace
        Seconds between SIGTERM and SIGKILL when a command is to stop.
    """

    def __init__(self, spawner: SpawnerLink, kill_grace: float = 2.0) -> None:
        self._spawner = spawner
        self._kill_grace = kill_grace
        self._is_gone = False
        self._numbers = itertools.count(1)
        self._running: dict[int, asyncio.Future[int]] = {}

    async def listen(self) -> None:
        """Take the spawner's reports, until cancelled; when it dies, commands raise SpawnerGone."""
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader),
            os.fdopen(self._spawner.reports, "rb", buffering=0),
        )
        try:
            async for line in reader:
                self._settle(json.loads(line))
        finally:
            transport.close()
        self._is_gone = True
        for ended in self._running.values():
            if not ended.done():
                ended.set_exception(_gone())

    async def run(self, invocation: Invocation, cwd: Path, timeout: float | None) -> None:
        """Run to its end. Raises CommandError when that is not exit code 0 within `timeout` s.

        Raises SpawnerGone when nothing can be run any more. Needs `listen` to be running.
        """
        if self._is_gone:
            raise _gone()
        number = next(self._numbers)
        ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._running[number] = ended
        tail = _StderrTail()
        try:
            self._order(
                {
                    "run": number,
                    "argv": invocation.argv,
                    "env": dict(invocation.env),
                    "cwd": str(cwd),
                },
                tail.write_end,
            )
            code = await self._wait(number, ended, timeout)
        finally:
            self._running.pop(number, None)
            await tail.close()
        if code is None:
            assert timeout is not None
            raise CommandTimedOut(timeout, tail.text)
        if code != 0:
            raise CommandFailed(code, tail.text)

    async def _wait(
        self, number: int, ended: asyncio.Future[int], timeout: float | None
    ) -> int | None:
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.shield(ended)
        except TimeoutError:
            await self._stop(number, ended)
            return None
        except asyncio.CancelledError:
            await self._stop(number, ended)
            raise

    async def _stop(self, number: int, ended: asyncio.Future[int]) -> None:
        for sent in (signal.SIGTERM, signal.SIGKILL):
            self._order({"kill": number, "signal": int(sent)})
            done, _ = await asyncio.wait([ended], timeout=self._kill_grace)
            if done:
                break
        else:
            _LOG.error("command %d does not die", number)
        if ended.done():
            ended.exception()

    def _order(self, message: dict[str, object], fd: int | None = None) -> None:
        body = json.dumps(message).encode()
        try:
            if fd is None:
                self._spawner.orders.sendall(LENGTH.pack(len(body)) + body)
            else:
                socket.send_fds(self._spawner.orders, [LENGTH.pack(len(body))], [fd])
                self._spawner.orders.sendall(body)
        except OSError as error:
            raise _gone() from error
        finally:
            if fd is not None:
                os.close(fd)

    def _settle(self, message: dict[str, object]) -> None:
        number = message.get("ended") or message.get("failed")
        ended = self._running.get(number) if isinstance(number, int) else None
        if ended is None or ended.done():
            return
        code = message.get("code")
        if isinstance(code, int):
            ended.set_result(code)
        else:
            ended.set_exception(CommandNotStarted(f"cannot be started: {message.get('error')}"))


def _gone() -> SpawnerGone:
    return SpawnerGone("the process that starts tasks has died")


class _StderrTail:
    """The read end of a command's stderr: passed on to our own, its end remembered.

    `write_end` is for the command; who passes it on closes it.
    """

    def __init__(self) -> None:
        self._read_end, self.write_end = os.pipe()
        self._tail = bytearray()
        self._copying = asyncio.create_task(self._copy())

    @property
    def text(self) -> str:
        return self._tail.decode(errors="replace").strip()

    async def close(self) -> None:
        # A process that left the group may hold the pipe open for ever.
        await asyncio.wait([self._copying], timeout=_PIPE_GRACE)
        self._copying.cancel()

    async def _copy(self) -> None:
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader),
            os.fdopen(self._read_end, "rb", buffering=0),
        )
        try:
            while part := await reader.read(65536):
                with contextlib.suppress(OSError):
                    os.write(2, part)
                self._tail += part
                del self._tail[:-_TAIL]
        finally:
            transport.close()
