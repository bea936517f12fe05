"""A TMS as a process of its own, to be killed; and what its workers leave behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from ewms_tms.process_tree import list_folder, read_text

# Dies by SIGKILL right before or after the first call of `before ewms_tms.module:Class.name`, or
# `during SubmitCluster 0.002`: that many seconds after its HTCondor helper was asked for that.
_COMMAND = """
import asyncio, functools, importlib, inspect, os, signal, sys
from ewms_tms.commands import app

def die_at(when, place):
    module, _, path = place.partition(":")
    owner = importlib.import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    function = getattr(owner, name)

    def die(at):
        if at == when:
            os.kill(os.getpid(), signal.SIGKILL)

    @functools.wraps(function)
    def call(*args, **kwargs):
        die("before")
        result = function(*args, **kwargs)
        die("after")
        return result

    @functools.wraps(function)
    async def call_async(*args, **kwargs):
        die("before")
        result = await function(*args, **kwargs)
        die("after")
        return result

    setattr(owner, name, call_async if inspect.iscoroutinefunction(function) else call)

def die_during(name, seconds):
    from ewms_tms.grid.condor_calls import CondorCalls
    exchange = CondorCalls._exchange

    async def dying(self, call):
        if type(call).__name__ == name:
            loop = asyncio.get_running_loop()
            loop.call_later(float(seconds), os.kill, os.getpid(), signal.SIGKILL)
        return await exchange(self, call)

    CondorCalls._exchange = dying

if "TEST_DIE_AT" in os.environ:
    when, *place = os.environ["TEST_DIE_AT"].split()
    die_during(*place) if when == "during" else die_at(when, *place)
app(["tms", *sys.argv[1:]])
"""

# A script that sends its arguments as a pilot sends chirps.
CHIRP = (
    "import os, socket, sys\n"
    "s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
    "for text in sys.argv[1:]: s.sendto(b'ulog ' + text.encode(),"
    " os.environ['EWMS_PILOT_CHIRP_SOCKET'])\n"
)


class TmsProcess:
    """`ewms tms` on a data folder.

    `options` are those of its grid; `prefix` is what the command begins with.
    """

    def __init__(
        self,
        data: Path,
        wms: str,
        pilot: str,
        slots: int = 4,
        options: Sequence[str] = (),
        prefix: Sequence[str] = (),
    ) -> None:
        self.data, self.wms, self.pilot = data, wms, pilot
        self.options = options or ("--slots", str(slots), "--schedd", "local", "--schedd", "osg")
        self.prefix = prefix
        self.process: asyncio.subprocess.Process | None = None

    async def begin(self, die_at: str = "") -> None:
        environment = {"TEST_DIE_AT": die_at} if die_at else {}
        self.process = await asyncio.create_subprocess_exec(
            *self.prefix, sys.executable, "-c", _COMMAND,
            "--wms", self.wms, "--data", str(self.data), "--pilot", self.pilot, *self.options,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, **environment},
        )  # fmt: skip

    async def watching(self) -> str:
        assert self.process is not None
        assert self.process.stdout is not None
        async with asyncio.timeout(20):
            return (await self.process.stdout.readline()).decode().strip()

    async def death(self) -> int:
        """Until it has ended by itself: its exit code, or the negative signal."""
        assert self.process is not None
        async with asyncio.timeout(20):
            return await self.process.wait()

    async def end(self, number: signal.Signals = signal.SIGKILL) -> int:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await self.death()


def starters(data: Path) -> list[int]:
    """The processes of all starters that live below a data folder."""
    return [
        int(name)
        for name in list_folder("/proc")
        if name.isdigit()
        and str(data) in (command := read_text(f"/proc/{name}/cmdline") or "")
        and "local_starter.py" in command
        and _leads_a_session(int(name))
    ]


def _leads_a_session(pid: int) -> bool:
    """Not so a child that is about to become the pilot."""
    try:
        return os.getsid(pid) == pid
    except ProcessLookupError:
        return False


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def commands_below(data: Path) -> bytes:
    """The command lines of every process whose folder is below `data`."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{name}/cwd").startswith(str(data)):
                found.append(Path(f"/proc/{name}/cmdline").read_bytes())
        except OSError:
            continue
    return b"\n".join(found)


async def ended(pid: int) -> None:
    """Until a process, which need not be a child of ours, has ended."""
    descriptor = os.pidfd_open(pid)
    has_ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(descriptor, has_ended.set)
    try:
        async with asyncio.timeout(20):
            await has_ended.wait()
    finally:
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)
