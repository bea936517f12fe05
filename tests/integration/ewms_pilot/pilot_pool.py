"""Pilots as real processes with real environments, beside a broker, with their chirps heard."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path

from pilot_event_server import CREDENTIAL, EventServer


@dataclass
class PilotProcess:
    """A pilot that runs, and what it has said."""

    process: asyncio.subprocess.Process
    scratch: Path
    log: bytearray = field(default_factory=bytearray)
    said: asyncio.Event = field(default_factory=asyncio.Event)
    reading: asyncio.Task[None] | None = None

    async def read(self) -> None:
        assert self.process.stderr is not None
        while part := await self.process.stderr.read(65536):
            self.log += part
            self.said.set()

    async def until_said(self, text: bytes) -> None:
        async with asyncio.timeout(15):
            while text not in self.log:
                await self.until_more_said()

    async def until_more_said(self, timeout: float = 15) -> None:
        """Wait for the next output, or as long as that."""
        self.said.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self.said.wait()

    async def ended(self, timeout: float = 15.0) -> int:
        async with asyncio.timeout(timeout):
            code = await self.process.wait()
            assert self.reading is not None
            await self.reading
        return code

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)


class Gate:
    """Where a task waits until the test lets it go on: a named pipe, opened by both."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "gate"
        os.mkfifo(self.path)

    def command(self, then: str = "cp $1 $2", before: str = "") -> str:
        """Arguments of a task that waits at the gate; `$1` and `$2` are its files."""
        script = f"{before} read go < {self.path}; {then}"
        return f"sh -c '{script}' sh {{{{INFILE}}}} {{{{OUTFILE}}}}"

    async def reached(self) -> int:
        """Wait until a task is at the gate; `open` lets it through.

        Before the next one is waited for, the one that was let through must have ended.
        """
        async with asyncio.timeout(15):
            return await asyncio.to_thread(os.open, self.path, os.O_WRONLY)

    @staticmethod
    def open(end: int) -> None:
        os.write(end, b"go\n")
        os.close(end)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def children_of(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def until_dead(pid: int) -> None:
    """Wait until a process is gone. It is nobody's child here: there is nothing but to look."""
    async with asyncio.timeout(10):
        while is_alive(pid):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@dataclass
class Pool:
    """Starts pilots in a folder and hears their chirps."""

    server: EventServer
    folder: Path
    program: tuple[str, ...] = (sys.executable, "-m", "ewms_pilot.main")
    pilots: list[PilotProcess] = field(default_factory=list)
    chirps: list[str] = field(default_factory=list)
    chirped: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def statuses(self) -> list[str]:
        prefix = "ulog HTChirpEWMSPilotStatus: "
        return [json.loads(text[len(prefix) :]) for text in self.chirps if text.startswith(prefix)]

    async def start(
        self, args: str, path: str | None = None, credential: str = CREDENTIAL, **settings: str
    ) -> PilotProcess:
        scratch = self.folder / f"scratch-{len(self.pilots)}"
        scratch.mkdir()
        env_file = scratch / "secrets.json"
        env_file.write_text(json.dumps({"EWMS_PILOT_QUEUE_CREDENTIAL": credential}))
        env_file.chmod(0o600)
        environ = {
            "PATH": path or os.environ["PATH"],
            "_CONDOR_SCRATCH_DIR": str(scratch),
            "TMPDIR": str(scratch),
            "EWMS_PILOT_RUNNER": "process",
            "EWMS_PILOT_TASK_IMAGE": "image:1",
            "EWMS_PILOT_TASK_ARGS": args,
            "EWMS_PILOT_QUEUE_INCOMING": "in",
            "EWMS_PILOT_QUEUE_INCOMING_BROKER_ADDRESS": self.server.address,
            "EWMS_PILOT_QUEUE_OUTGOING": "out",
            "EWMS_PILOT_QUEUE_OUTGOING_BROKER_ADDRESS": self.server.address,
            "EWMS_PILOT_HTCHIRP": "true",
            "EWMS_PILOT_CHIRP_SOCKET": str(self.folder / "chirps"),
            "EWMS_PILOT_ENV_FILE": str(env_file),
        }
        environ.update({f"EWMS_PILOT_{name.upper()}": value for name, value in settings.items()})
        process = await asyncio.create_subprocess_exec(
            *self.program, env=environ, cwd=scratch, stderr=asyncio.subprocess.PIPE
        )
        pilot = PilotProcess(process, scratch)
        pilot.reading = asyncio.create_task(pilot.read())
        self.pilots.append(pilot)
        return pilot

    async def until_chirped(self, text: str, timeout: float = 15.0) -> None:
        async with asyncio.timeout(timeout), self.chirped:
            await self.chirped.wait_for(lambda: any(text in chirp for chirp in self.chirps))

    async def hear(self, receiver: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self.chirps.append((await loop.sock_recv(receiver, 65536)).decode())
            async with self.chirped:
                self.chirped.notify_all()
