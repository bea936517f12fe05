"""The TMS as a program: its data folder, its grid, an agent for each schedd, and their end.

Guarantees that a data folder has one TMS at a time, and that stopping it leaves workers running,
as a schedd would: the next TMS adopts them.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from ewms_rpc.channel import open_channel
from ewms_rpc.metrics_http import serve_metrics
from ewms_rpc.tls import client_tls
from ewms_tms.agent import Agent
from ewms_tms.config import TmsSettings
from ewms_tms.durable_files import write_whole
from ewms_tms.grid import Grid
from ewms_tms.grid.local import LocalMachine, open_local_grids
from ewms_tms.metrics import tms_metrics
from ewms_tms.submission import PilotSettings

__all__ = ["DataFolderInUse", "run_tms"]

# One connection for all agents: a WMS that starts need not be spared its attempts.
_LONGEST_RECONNECT_SECONDS = 0.2


class DataFolderInUse(Exception):
    """Another TMS works in this data folder."""


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
    OSError
        The metrics' address cannot be had, a certificate not be read, the data folder not be made.
    """
    folder = settings.data.absolute()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    mqs_ca = settings.mqs_ca.read_text() if settings.mqs_ca else ""
    pilot = PilotSettings(settings.runner, mqs_ca)
    with _locked(folder):
        machine = LocalMachine(folder, settings.schedd, settings.slots, settings.pilot)
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
            agents = [
                _agent(grid, channel, folder, settings, pilot, note_leased)
                for grid in open_local_grids(machine)
            ]
            async with (
                serve_metrics(settings.metrics, tms_metrics(agents)),
                asyncio.TaskGroup() as group,
            ):
                programs = [machine.run(), *(agent.run() for agent in agents)]
                running = [group.create_task(program) for program in programs]
                await stop.wait()
                for task in running:
                    task.cancel()


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
        retention=settings.retention,
        note_leased=note_leased,
    )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder / "tms.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataFolderInUse(f"another TMS works in {folder}") from None
        yield
    finally:
        os.close(descriptor)


def _agent_id(folder: Path) -> str:
    path = folder / "agent_id"
    if not path.exists():
        write_whole(path, f"{socket.gethostname()[:64]}-{uuid.uuid4()}".encode())
    return path.read_text()
