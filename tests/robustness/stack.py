"""The real processes of the system, started one by one so that each can be killed, stopped and
started again: PostgreSQL, two WMS on one database, an MQS, a TMS with its detached workers.

Guarantees that no process outlives the block, nor the test's own process. Clients and peers find
one another over links that can be cut. Settings are the defaults but for short leases.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import psutil
from link import Link
from sweep import processes_in

from ewms_rpc.health import await_serving

__all__ = ["LEASE_SECONDS", "PARTS", "Program", "Stack", "running_stack"]

LEASE_SECONDS = 3.0
PARTS = ("wms", "mqs", "tms", "worker", "postgres")

_START_SECONDS = 120.0
_DRAIN_SECONDS = 30.0
_ENV = {"NO_COLOR": "1", "PYTHONUNBUFFERED": "1"}


class Program:
    """One command of `ewms` that is started any number of times, with one log."""

    def __init__(self, name: str, arguments: tuple[str, ...], log: Path) -> None:
        self.name, self._arguments, self._log = name, arguments, log
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Of the last process."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether its last process has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it, bound to this process: the kernel kills it with us."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "wms_grpc.tethered", str(os.getpid())),
                *self._arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **_ENV},
                start_new_session=True,
            )

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def ended(self, within: float) -> int:
        """Its exit code, once it has ended. TimeoutError."""
        assert self._process is not None
        async with asyncio.timeout(within):
            return await self._process.wait()

    async def kill(self) -> None:
        """SIGKILL, and its end."""
        self.signal(signal.SIGKILL)
        await self.ended(_DRAIN_SECONDS)


class Stack:
    """Everything that runs. Use `running_stack`."""

    def __init__(self, folder: Path, exits: AsyncExitStack) -> None:
        self.folder = folder
        self.logs = folder / "logs"
        self.ledger = folder / "ledger"
        self.programs: dict[str, Program] = {}
        self.wms_links: list[Link] = []
        self.mqs_link = Link([])
        self.tms_link = Link([])
        self.database_url = ""
        self.exit_codes: Mapping[str, int] = {}
        self._exits = exits

    @property
    def addresses(self) -> list[str]:
        """Where clients find the WMS servers."""
        return [link.address for link in self.wms_links]

    @property
    def links(self) -> list[Link]:
        """All links."""
        return [*self.wms_links, self.mqs_link, self.tms_link]

    @property
    def grid(self) -> Path:
        """The TMS's data folder."""
        return self.folder / "tms"

    async def open(self, tms_options: tuple[str, ...]) -> None:
        """Start all of it, in the order of need, and return once it serves."""
        self.logs.mkdir()
        await self.start_postgres()
        database = ("--database", self.database_url)
        mqs = _free_address()
        self.mqs_link = await self._exits.enter_async_context(Link([mqs]))
        advertised = ("--advertise", self.mqs_link.address, "--lease", str(LEASE_SECONDS))
        self._add("mqs", "mqs", "--listen", mqs, *database, *advertised)
        servers = [_free_address(), _free_address()]
        for number, address in enumerate(servers):
            self.wms_links.append(await self._exits.enter_async_context(Link([address])))
            self._add(
                f"wms-{number}", "wms", "--listen", address, *database,
                "--mqs", self.mqs_link.address, "--agent-lease", str(LEASE_SECONDS),
                "--stop-grace", "0.5",
            )  # fmt: skip
        self.tms_link = await self._exits.enter_async_context(Link(servers))
        self._add(
            "tms", "tms", "--wms", self.tms_link.address, "--data", str(self.grid), *tms_options
        )
        for program in self.programs.values():
            await program.start()
        await self.until_serving()

    async def close(self) -> None:
        """Have every part drain and end; `exit_codes` tells how. What does not end is killed."""
        codes: dict[str, int] = {}
        for program in reversed(self.programs.values()):
            program.signal(signal.SIGCONT)
            program.signal(signal.SIGTERM)
            try:
                codes[program.name] = await program.ended(_DRAIN_SECONDS)
            except TimeoutError:
                await program.kill()
                codes[program.name] = -signal.SIGKILL
        self.exit_codes = codes

    async def until_serving(self) -> None:
        """Until every server answers, and is found behind its link. TimeoutError."""
        async with asyncio.timeout(_START_SECONDS):
            for link in (*self.wms_links, self.mqs_link, self.tms_link):
                await await_serving(link.address, deadline=_START_SECONDS)

    async def start_postgres(self) -> None:
        """Start PostgreSQL, or adopt the one that runs; it lives as long as the stack."""
        with (self.logs / "postgres.log").open("ab") as log:
            keeper = await asyncio.create_subprocess_exec(
                *(sys.executable, str(Path(__file__).with_name("keep_postgres.py"))),
                str(self.folder),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        assert keeper.stdin is not None
        assert keeper.stdout is not None
        self._exits.push_async_callback(keeper.wait)
        self._exits.callback(keeper.stdin.close)
        async with asyncio.timeout(_START_SECONDS):
            self.database_url = (await keeper.stdout.readline()).decode().strip()
        if not self.database_url:
            raise ChildProcessError(f"PostgreSQL is not kept, see {self.logs}")

    def postmaster(self) -> int:
        """PostgreSQL's process, by its own word."""
        return int((self.folder / "postgres" / "postmaster.pid").read_text().split()[0])

    def workers(self) -> list[psutil.Process]:
        """The living processes of all workers: starters, pilots, tasks."""
        return [
            process for process in processes_in(self.grid) if process.pid != self._pid_of("tms")
        ]

    def any_of(self, part: str, rng: random.Random) -> str:
        """The name of a program of this part."""
        return rng.choice([name for name in self.programs if name.partition("-")[0] == part])

    def _pid_of(self, name: str) -> int:
        return self.programs[name].pid

    def _add(self, name: str, *arguments: str) -> None:
        self.programs[name] = Program(name, arguments, self.logs / f"{name}.log")


@asynccontextmanager
async def running_stack(folder: Path, *, tms_options: tuple[str, ...] = ()) -> AsyncIterator[Stack]:
    """A stack in an empty folder that serves. Afterwards no process works in the folder."""
    guard = _guard(folder)
    try:
        async with AsyncExitStack() as exits:
            stack = Stack(folder, exits)
            try:
                await stack.open(tms_options)
                yield stack
            finally:
                await stack.close()
    finally:
        assert guard.stdin is not None
        guard.stdin.close()
        swept = await asyncio.to_thread(guard.wait, _DRAIN_SECONDS)
        assert swept == 0, f"processes were left behind in {folder}"


def _guard(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("sweep.py")), str(folder)],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )


def _free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"
