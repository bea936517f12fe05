"""One part of the stack: a child process that is started, listened to, started again and stopped.

Guarantees that it is started again, after growing waits, whatever it dies of, and that it never
outlives this process. One that ends by itself again and again before it ever served is given up:
its settings are wrong, and its last lines say how.
"""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from ewms_rpc.backoff import Backoff
from wms_grpc.part_logs import PartLogs

__all__ = ["Part", "PartFailed", "Program"]

_MOST_FAILED_STARTS = 3
_STEADY_SECONDS = 10.0
_LAST_LINES_SECONDS = 1.0
_CHUNK = 64 * 1024
_LONGEST_LINE = 1024 * 1024


class PartFailed(Exception):
    """A part ended by itself at each of its first starts. `exit_code` is the last one's."""

    def __init__(self, name: str, exit_code: int) -> None:
        super().__init__(f"the {name} does not start (exit code {exit_code}); see its lines above")
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Program:
    """A command of `ewms`: its name, its options, how its line on stdout begins by which it says
    that it serves, and what its environment has beyond ours."""

    name: str
    options: tuple[str, ...]
    announcement: str
    environment: Mapping[str, str] = field(default_factory=dict)


class Part:
    """A program that runs. `ready` is set once it has said that it serves."""

    def __init__(self, program: Program, logs: PartLogs) -> None:
        self.ready = asyncio.Event()
        self._program = program
        self._logs = logs
        self._process: Process | None = None
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Keep it running until it is stopped. Raises PartFailed; cancelled, it kills."""
        backoff = Backoff()
        n_failed_starts = 0
        clock = asyncio.get_running_loop().time
        while not self._stopping.is_set():
            begin = clock()
            exit_code = await self._run_once()
            if self._stopping.is_set():
                return
            if exit_code >= 0 and not self.ready.is_set():
                n_failed_starts += 1
                if n_failed_starts == _MOST_FAILED_STARTS:
                    raise PartFailed(self._program.name, exit_code)
            self._logs.warn("a part ended", part=self._program.name, exit_code=exit_code)
            if clock() - begin > _STEADY_SECONDS:
                backoff.reset()
            with suppress(TimeoutError):
                async with asyncio.timeout(backoff.next_wait()):
                    await self._stopping.wait()

    async def stop(self, patience: float) -> None:
        """Have it drain and end, or kill it after `patience` seconds."""
        self._stopping.set()
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(patience):
                await process.wait()
        except TimeoutError:
            self._logs.warn("a part did not stop in time", part=self._program.name)
            process.kill()
            await process.wait()

    async def _run_once(self) -> int:
        process = self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "wms_grpc.tethered", str(os.getpid())),
            *(self._program.name, *self._program.options),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            env=os.environ | self._program.environment,
            # A Ctrl-C is for the head of the stack alone, which stops the parts in order.
            start_new_session=True,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        pipes = [
            asyncio.create_task(self._listen(process.stdout)),
            asyncio.create_task(self._pass_on(process.stderr)),
        ]
        try:
            exit_code = await process.wait()
            # A process of its own that it left behind may hold a pipe open for ever.
            await asyncio.wait(pipes, timeout=_LAST_LINES_SECONDS)
            return exit_code
        finally:
            for pipe in pipes:
                pipe.cancel()
            if process.returncode is None:
                process.kill()

    async def _listen(self, stdout: asyncio.StreamReader) -> None:
        announcement = self._program.announcement.encode()
        async for line in _lines(stdout):
            self._logs.take(self._program.name, line)
            if line.startswith(announcement):
                self.ready.set()

    async def _pass_on(self, stderr: asyncio.StreamReader) -> None:
        async for line in _lines(stderr):
            self._logs.take(self._program.name, line)


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """The stream's lines without their line feeds; one beyond all bounds comes in pieces."""
    rest = b""
    while chunk := await stream.read(_CHUNK):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line
        if len(rest) > _LONGEST_LINE:
            yield rest
            rest = b""
    if rest:
        yield rest
