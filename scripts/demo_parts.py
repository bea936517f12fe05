"""Programs of the real demo: run to their end, or kept running, killed and started again.

Each has a session of its own, so that a Ctrl-C is for the demo alone, which stops them in order;
and what is kept running is killed by the kernel if the demo is.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

__all__ = ["EWMS", "DemoFailed", "Part", "free_ports", "run", "say", "until"]

EWMS = str(Path(sys.executable).with_name("ewms"))

_START_SECONDS = 60.0
_STOP_SECONDS = 20.0
_LAST_LINES = 15
_began = time.monotonic()
_numbers = itertools.count()
_ports = iter(range(26_700, 32_000, 10))
_kept: list[contextlib.ExitStack] = []


class DemoFailed(Exception):
    """Something did not happen as it should; says what."""


def say(text: str) -> None:
    """A line for the person who looks on, with the time since the beginning."""
    sys.stdout.write(f"{time.monotonic() - _began:6.1f} s  {text}\n")
    sys.stdout.flush()


async def run(
    folder: Path, *command: str | Path, env: Mapping[str, str] | None = None, limit: float = 120
) -> str:
    """Run a command to its end and return what it prints; `folder` keeps that.

    Raises DemoFailed with the end of what it said on stderr unless it ends with 0. Cancelled, it
    waits for the command nevertheless: what a script was starting can be stopped only then.
    """
    # To files and not to pipes, which a daemon that the command starts would keep open.
    name = f"command-{next(_numbers)}"
    output, errors = folder / f"{name}.out", folder / f"{name}.err"
    with output.open("wb") as stdout, errors.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=stdout, stderr=stderr,
            env={**os.environ, **(env or {})}, start_new_session=True,
        )  # fmt: skip
    ending = asyncio.ensure_future(process.wait())
    try:
        code = await asyncio.wait_for(asyncio.shield(ending), limit)
    except asyncio.CancelledError:
        await ending
        raise
    except TimeoutError:
        process.kill()
        await ending
        raise DemoFailed(f"`{_short(command)}` did not end within {limit:g} s") from None
    if code:
        raise DemoFailed(f"`{_short(command)}` ended with {code}: {_end_of(errors)}")
    return output.read_text()


async def until(condition: Callable[[], Awaitable[bool]], seconds: float, what: str) -> None:
    """Wait for something that tells nobody; raise DemoFailed, saying what, if it stays away."""
    deadline = time.monotonic() + seconds
    while not await condition():
        if time.monotonic() > deadline:
            raise DemoFailed(f"{what}, after {seconds:g} s")
        await asyncio.sleep(0.5)


def free_ports(count: int) -> int:
    """The first of some ports in a row that are free now, kept for whoever is to listen there.

    What is killed must find its ports again. A socket that is bound and does not listen hinders
    nobody who listens with SO_REUSEADDR, as servers do, but Linux gives its port to no connection.
    """
    for first in _ports:
        with contextlib.ExitStack() as bound:
            try:
                for port in range(first, first + count):
                    holder = bound.enter_context(socket.socket())
                    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    holder.bind(("127.0.0.1", port))
            except OSError:
                continue
            _kept.append(bound.pop_all())
        return first
    raise DemoFailed("no free ports")


class Part:
    """A program that is kept running: ready when it has printed its first line.

    Parameters
    ----------
    name
        What it is called in lines and in its log's name.
    command, env
        How it is started, each time.
    folder
        Where its log goes.
    prefix
        What the command begins with, as another account for example.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        env: Mapping[str, str],
        folder: Path,
        prefix: Sequence[str] = (),
    ) -> None:
        self.name = name
        self._log = folder / f"{name}.log".replace(" ", "-")
        # After the account has changed, since the kernel forgets the signal at that.
        self._command = [*prefix, "setpriv", "--pdeathsig", "KILL", *command]
        self._env = env
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it; it serves when this returns."""
        with self._log.open("ab") as log:
            self._process = process = await asyncio.create_subprocess_exec(
                *self._command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
                stderr=log, env=_neutral() | self._env, start_new_session=True,
            )  # fmt: skip
        assert process.stdout is not None
        try:
            async with asyncio.timeout(_START_SECONDS):
                line = await process.stdout.readline()
        except TimeoutError:
            line = b""
        if not line:
            raise self._failed("does not start")

    async def kill(self) -> None:
        """End it at once, as a power cut does."""
        process = self._running()
        process.kill()
        await process.wait()

    async def stop(self) -> None:
        """End it in order. Raises DemoFailed if it had died before, or does not end."""
        process = self._running()
        process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                code = await process.wait()
        except TimeoutError:
            raise self._failed(f"did not stop within {_STOP_SECONDS:g} s") from None
        if code:
            raise self._failed(f"ended with {code}")

    async def end(self) -> None:
        """Whatever state it is in: it is gone after this."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            try:
                async with asyncio.timeout(_STOP_SECONDS):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()

    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            raise self._failed("is not running any more")
        return self._process

    def _failed(self, what: str) -> DemoFailed:
        return DemoFailed(f"{self.name} {what}; its log ends with:\n{_end_of(self._log)}")


def _neutral() -> dict[str, str]:
    """This process's environment without what sets our programs, or leads to a database."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("EWMS_", "PG", "CONDOR", "_CONDOR"))
    }


def _short(command: Sequence[str | Path]) -> str:
    return " ".join(Path(word).name if "/" in str(word) else str(word) for word in command[:3])


def _end_of(file: Path) -> str:
    return "\n".join(file.read_text(errors="replace").splitlines()[-_LAST_LINES:])
