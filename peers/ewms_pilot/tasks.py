"""One command after the other: the init once, then a task for each event, in a folder of its own.

Guarantees that a task's folder is gone when its result is read, and that nothing is read for a
result but a regular file that the task wrote. It knows nothing of queues.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path

from ewms_pilot.commands import CommandRunner
from ewms_pilot.environment import PilotConfig
from ewms_pilot.errors import (
    CommandError,
    CommandFailed,
    InitFailed,
    OutfileMissing,
    OutputRefused,
    ScratchUnusable,
)
from ewms_pilot.outgoing import MAX_PAYLOAD
from ewms_pilot.runners import Folders, Image, Runner

__all__ = ["Tasks", "is_okay"]

_LOG = logging.getLogger(__name__)


class Tasks:
    """The commands of one pilot.

    Parameters
    ----------
    config
        The settings.
    runner
        Builds the commands.
    commands
        Runs them.
    scratch
        An empty folder of this pilot alone; the caller removes it.
    """

    def __init__(
        self, config: PilotConfig, runner: Runner, commands: CommandRunner, scratch: Path
    ) -> None:
        self._config = config
        self._runner = runner
        self._commands = commands
        self._scratch = scratch
        self._data_hub = scratch / "data-hub"
        self._numbers = itertools.count(1)
        self._image = Image(config.task.image)
        self._prepared: list[list[str]] = []

    async def initialize(self) -> None:
        """Make the data hub, unpack the images, run the init command.

        Raises InitFailed, after the quarantine time.
        """
        config = self._config
        await _make_folder(self._data_hub)
        try:
            self._image = await self._prepare(config.task.image)
            if config.init is not None:
                image = await self._prepare(config.init.image)
                folders = Folders(self._data_hub, await self._task_folder())
                invocation = self._runner.invocation(config.init, image, folders)
                await self._commands.run(invocation, folders.task, config.init_timeout)
                await _remove(folders.task)
        except CommandError as error:
            await asyncio.sleep(config.quarantine_time)
            raise InitFailed(f"init failed: {error}") from error

    async def run(self, payload: bytes) -> bytes | None:
        """Run the task on an event. Returns what it wrote; None if there is nothing to publish.

        Raises EventError, ScratchUnusable.
        """
        config = self._config
        folder = await self._task_folder()
        try:
            folders = Folders(
                self._data_hub,
                folder,
                infile=f"{folder.name}{config.infile_ext}",
                outfile=f"{folder.name}-result{config.outfile_ext}",
            )
            await _write(folder / folders.infile, payload)
            outfile = folder / folders.outfile
            invocation = self._runner.invocation(config.task, self._image, folders)
            try:
                await self._commands.run(invocation, folder, config.task_timeout)
            except CommandError as error:
                if not is_okay(error, config.okay_errors):
                    raise
                _LOG.info("an okay error: %s", error)
                # What was killed half way has no result; what ended by itself may have one.
                if not isinstance(error, CommandFailed) or not outfile.exists():
                    return None
            if not config.outgoing:
                return None
            return await asyncio.to_thread(_read_result, outfile)
        finally:
            await _remove(folder)

    async def _prepare(self, image: str) -> Image:
        usable, invocation = self._runner.prepare(image, self._scratch)
        if invocation is not None and invocation.argv not in self._prepared:
            self._prepared.append(invocation.argv)
            await self._commands.run(invocation, self._scratch, self._config.init_timeout)
        return await asyncio.to_thread(self._runner.inspect, usable)

    async def _task_folder(self) -> Path:
        folder = self._scratch / f"task-{next(self._numbers)}"
        await _make_folder(folder)
        return folder


def is_okay(error: CommandError, okay_errors: Sequence[str]) -> bool:
    """Whether the configuration calls this error fine.

    An entry is an exit code, or a text that occurs in the error or at the end of stderr.
    """
    for entry in okay_errors:
        if entry.isdecimal():
            if isinstance(error, CommandFailed) and error.exit_code == int(entry):
                return True
        elif entry in str(error):
            return True
    return False


async def _make_folder(folder: Path) -> None:
    try:
        await asyncio.to_thread(folder.mkdir)
    except OSError as error:
        raise ScratchUnusable(f"no folder for a task: {error}") from error


async def _write(path: Path, content: bytes) -> None:
    try:
        await asyncio.to_thread(path.write_bytes, content)
    except OSError as error:
        raise ScratchUnusable(f"an in file cannot be written: {error}") from error


async def _remove(folder: Path) -> None:
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _read_result(path: Path) -> bytes:
    try:
        # A link could make the pilot publish a file that the task itself cannot read.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise OutfileMissing("the task wrote no out file") from None
    except OSError as error:
        raise OutfileMissing(f"the out file cannot be read: {error.strerror}") from error
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OutfileMissing("the out file is no regular file")
        if status.st_size > MAX_PAYLOAD:
            raise OutputRefused(f"the out file has {status.st_size} bytes, above {MAX_PAYLOAD}")
        return file.read()
