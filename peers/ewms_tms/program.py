"""The TMS as a program: its data folder, its grid, an agent for each schedd, and their end.

Guarantees that a data folder has one TMS at a time, and that stopping it leaves workers running,
as a schedd would: the next TMS adopts them.
"""

from __future__ import annotations

import asyncio
import fcntl
import importlib.util
import os
import socket
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import grpc

from ewms_rpc.channel import open_channel
from ewms_rpc.metrics_http import serve_metrics
from ewms_rpc.tls import client_tls
from ewms_tms.agent import Agent
from ewms_tms.config import TmsSettings
from ewms_tms.durable_files import write_whole
from ewms_tms.grid import Grid
from ewms_tms.grid.condor import CondorOptions, CondorPool, WrongAccount
from ewms_tms.grid.condor_calls import CondorCalls
from ewms_tms.grid.local import LocalMachine
from ewms_tms.grid.local_grids import open_local_grids
from ewms_tms.metrics import tms_metrics
from ewms_tms.retention import Retention
from ewms_tms.submission import PilotSettings

__all__ = ["CannotStart", "DataFolderInUse", "condor_environment", "run_tms"]

# One connection for all agents: a WMS that starts need not be spared its attempts.
_LONGEST_RECONNECT_SECONDS = 0.2


# The helper of a TMS that was killed holds the lock until the kernel has killed it, too.
_PATIENCE_SECONDS = {"local": 0.0, "condor": 5.0}
_LOCK_INTERVAL_SECONDS = 0.05


class DataFolderInUse(Exception):
    """Another TMS works in this data folder."""


class CannotStart(Exception):
    """What it would need is not there, or is not for this account; says which."""


async def run_tms(
    settings: TmsSettings, stop: asyncio.Event, announce: Callable[[tuple[str, ...]], None]
) -> None:
    """Run until `stop` is set.

    Parameters
    ----------
    settings
        How.
    stop
        Ends it.
    announce
        Called once, with the schedds, when a lease of each has been held.

    Raises
    ------
    DataFolderInUse
        Another TMS works in the data folder.
    CannotStart
        The grid cannot be used, as its words say.
    OSError
        The metrics' address cannot be had, a certificate not be read, the data folder not be made.
    """
    folder = settings.data.absolute()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    mqs_ca = settings.mqs_ca.read_text() if settings.mqs_ca else ""
    pilot = PilotSettings(settings.runner, mqs_ca, settings.pilot_image)
    async with _locked(folder, _PATIENCE_SECONDS[settings.grid]) as lock:
        machine, grids = await _open_grids(settings, folder, lock)
        waiting = set(settings.schedd)

        def note_leased(schedd: str) -> None:
            if waiting == {schedd}:
                announce(settings.schedd)
            waiting.discard(schedd)

        async with open_channel(
            settings.wms,
            insecure=settings.insecure,
            tls=client_tls(settings.wms_ca, settings.wms_cert, settings.wms_key),
            longest_reconnect=_LONGEST_RECONNECT_SECONDS,
            stack=settings.stack,
        ) as channel:
            agents = [_agent(grid, channel, folder, settings, pilot, note_leased) for grid in grids]
            async with (
                serve_metrics(settings.metrics, tms_metrics(agents)),
                asyncio.TaskGroup() as group,
            ):
                programs = [machine.run(), *(agent.run() for agent in agents)]
                running = [group.create_task(program) for program in programs]
                await stop.wait()
                for task in running:
                    task.cancel()


class _Machine(Protocol):
    """What stands behind grids, and works for as long as it runs."""

    async def run(self) -> None: ...


async def _open_grids(
    settings: TmsSettings, folder: Path, lock: int
) -> tuple[_Machine, list[Grid]]:
    if settings.grid == "local":
        local = LocalMachine(folder, settings.schedd, settings.slots, settings.pilot)
        return local, open_local_grids(local)
    if importlib.util.find_spec("htcondor2") is None:
        raise CannotStart("the grid `condor` needs HTCondor's bindings: pip install htcondor")
    calls = CondorCalls(condor_environment(settings), (lock,))
    options = CondorOptions(
        command=settings.pilot,
        requirements=settings.condor_requirements,
        input_roots=settings.input_roots,
        room_interval=settings.condor_interval.total_seconds(),
    )
    names = {name: settings.condor_schedds.get(name, name) for name in settings.schedd}
    pool = CondorPool(folder, names, calls, options)
    try:
        await pool.check_accounts()
    except WrongAccount as error:
        raise CannotStart(str(error)) from error
    return pool, pool.grids


def condor_environment(settings: TmsSettings) -> dict[str, str]:
    """HTCondor's configuration as its bindings read it."""
    values = {
        "CONDOR_CONFIG": settings.condor_config,
        "_CONDOR_COLLECTOR_HOST": settings.condor_pool,
        "_CONDOR_SEC_TOKEN_DIRECTORY": settings.condor_tokens,
        "_CONDOR_SCITOKENS_FILE": settings.condor_scitoken,
        "_CONDOR_SEC_CLIENT_AUTHENTICATION_METHODS": (
            "SCITOKENS, IDTOKENS" if settings.condor_scitoken else None
        ),
    }
    return {name: str(value) for name, value in values.items() if value}


def _agent(
    grid: Grid,
    channel: grpc.aio.Channel,
    folder: Path,
    settings: TmsSettings,
    pilot: PilotSettings,
    note_leased: Callable[[str], None],
) -> Agent:
    return Agent(
        agent_id=_agent_id(folder),
        grid=grid,
        channel=channel,
        folder=folder / "schedds" / grid.schedd,
        pilot=pilot,
        keep=Retention(
            settings.retention, settings.archive / grid.schedd if settings.archive else None
        ),
        note_leased=note_leased,
    )


@asynccontextmanager
async def _locked(folder: Path, patience: float) -> AsyncIterator[int]:
    """The data folder's lock; `patience` is how long the last TMS may take to let go of it."""
    descriptor = os.open(folder / "tms.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    until = time.monotonic() + patience
    try:
        while not _is_mine(descriptor):
            if time.monotonic() > until:
                raise DataFolderInUse(f"another TMS works in {folder}")
            await asyncio.sleep(_LOCK_INTERVAL_SECONDS)
        yield descriptor
    finally:
        os.close(descriptor)


def _is_mine(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _agent_id(folder: Path) -> str:
    path = folder / "agent_id"
    if not path.exists():
        write_whole(path, f"{socket.gethostname()[:64]}-{uuid.uuid4()}".encode())
    return path.read_text()
