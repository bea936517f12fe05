"""A pilot from its first chirp to its exit code: what is wired together, and how it ends.

Whatever happens, the scratch folder is removed and the last status is told. SIGTERM cancels the
work, whose cleaning up kills the tasks and gives back the events.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ewms_pilot.access import Channels
from ewms_pilot.chirp_proxy import find_proxy, proxy_chirps
from ewms_pilot.chirps import Chirps, PilotStatus, condor_chirp, datagrams
from ewms_pilot.commands import CommandRunner
from ewms_pilot.environment import PilotConfig
from ewms_pilot.errors import ConfigurationError, FatalError, ScratchUnusable
from ewms_pilot.runners import Runner, inherited_environment
from ewms_pilot.spawner import SpawnerLink
from ewms_pilot.tasks import Tasks
from ewms_pilot.worker import Worker

__all__ = ["EXIT_CONFIGURATION", "EXIT_DONE", "EXIT_FATAL", "EXIT_TERMINATED", "run_pilot"]

_LOG = logging.getLogger(__name__)
EXIT_DONE = 0
EXIT_FATAL = 1
EXIT_CONFIGURATION = 2
EXIT_TERMINATED = 143
_LAST_CHIRPS = 1.0


def run_pilot(config: PilotConfig, spawner: SpawnerLink) -> int:
    """Run a pilot in this process. Returns its exit code."""
    try:
        runner = Runner.find(config.runner, inherited_environment(os.environ))
    except ConfigurationError as error:
        _LOG.error("%s", error)
        return EXIT_CONFIGURATION
    return asyncio.run(_run(config, runner, spawner))


async def _run(config: PilotConfig, runner: Runner, spawner: SpawnerLink) -> int:
    commands = CommandRunner(spawner)
    chirps = _open_chirps(config, commands, runner.inherited)
    chirps.status(PilotStatus.STARTED)
    async with asyncio.TaskGroup() as group:
        listening = group.create_task(commands.listen())
        chirping = group.create_task(chirps.run())
        work = asyncio.create_task(_work(config, runner, commands, chirps))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, _cancel_once, work)
        await asyncio.wait([work])
        code = _conclude(work, chirps)
        chirping.cancel()
        await asyncio.wait([chirping])
        await chirps.flush(_LAST_CHIRPS)
        listening.cancel()
    return code


def _cancel_once(work: asyncio.Task[None]) -> None:
    # A second signal must not interrupt the cleaning up that the first one began.
    if not work.cancelling():
        work.cancel()


def _conclude(work: asyncio.Task[None], chirps: Chirps) -> int:
    if work.cancelled():
        _LOG.warning("terminated: the tasks are killed, the events given back")
        return EXIT_TERMINATED
    error = work.exception()
    if error is None:
        chirps.status(PilotStatus.DONE)
        return EXIT_DONE
    fatal = _first_fatal(error)
    if fatal is None:
        _LOG.error("a fault of the pilot itself", exc_info=error)
    else:
        _LOG.error("%s", fatal)
    chirps.error(str(fatal or f"fault of the pilot: {type(error).__name__}"))
    chirps.status(PilotStatus.FATAL_ERROR)
    return EXIT_FATAL


async def _work(
    config: PilotConfig, runner: Runner, commands: CommandRunner, chirps: Chirps
) -> None:
    channels = Channels(config.mqs_ca.encode() if config.mqs_ca else None)
    scratch = _make_scratch(config.scratch_base)
    try:
        tasks = Tasks(config, runner, commands, scratch)
        await Worker(config, tasks, chirps, channels).run()
    finally:
        await channels.close()
        await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)


def _open_chirps(
    config: PilotConfig, commands: CommandRunner, environ: Mapping[str, str]
) -> Chirps:
    if config.chirp.socket is not None:
        return Chirps(config.chirp, datagrams(config.chirp.socket))
    if (proxy := find_proxy(environ)) is not None:
        return Chirps(config.chirp, proxy_chirps(proxy))
    return Chirps(config.chirp, condor_chirp(commands, environ))


def _make_scratch(base: Path) -> Path:
    try:
        base.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="ewms-pilot-", dir=base))
    except OSError as error:
        raise ScratchUnusable(f"no scratch folder: {error}") from error


def _first_fatal(error: BaseException) -> FatalError | ConfigurationError | None:
    """The reason of the end, out of the groups in which tasks raise."""
    if isinstance(error, BaseExceptionGroup):
        found = (_first_fatal(inner) for inner in error.exceptions)
        return next((fatal for fatal in found if fatal is not None), None)
    return error if isinstance(error, FatalError | ConfigurationError) else None
