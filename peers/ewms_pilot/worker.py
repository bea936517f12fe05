"""The work: init once, then event by event in file, task, out file, publish, acknowledge.

An event is acknowledged only when its result is durable on every outgoing queue; whatever fails
before that refuses it with the reason, and the broker delivers it again or puts it to the dead
letters. Cancelled (the worker is being removed), it kills its tasks and gives everything back.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import shutil
import stat
import time
from collections.abc import Sequence
from pathlib import Path

from ewms_pilot.access import Channels, QueueAccess
from ewms_pilot.chirps import Chirps, PilotStatus
from ewms_pilot.commands import CommandRunner
from ewms_pilot.environment import PilotConfig, QueueAddress
from ewms_pilot.errors import (
    CommandError,
    CommandFailed,
    EventError,
    InitFailed,
    OutfileMissing,
    OutputRefused,
    ScratchUnusable,
    TaskErrorStop,
)
from ewms_pilot.incoming import Held, Incoming
from ewms_pilot.outgoing import MAX_PAYLOAD, Outgoing
from ewms_pilot.runners import Folders, Runner

__all__ = ["Worker"]

_LOG = logging.getLogger(__name__)
# An event that waits here behind a longer task would be done sooner by another worker.
_PREFETCH_BELOW = 10.0


class Worker:
    """One pilot's work.

    Parameters
    ----------
    config
        The settings.
    runner
        Builds the commands.
    commands
        Runs them.
    chirps
        Told of statuses, counts and errors.
    channels
        To the brokers; the caller closes them.
    scratch
        An empty folder of this pilot alone; the caller removes it.
    """

    def __init__(
        self,
        config: PilotConfig,
        runner: Runner,
        commands: CommandRunner,
        chirps: Chirps,
        channels: Channels,
        scratch: Path,
    ) -> None:
        self._config = config
        self._runner = runner
        self._commands = commands
        self._chirps = chirps
        self._scratch = scratch
        self._data_hub = scratch / "data-hub"
        self._ready: asyncio.Queue[Held] = asyncio.Queue()
        self._numbers = itertools.count(1)
        self._n_failed = 0
        self._n_success = 0
        self._has_message = False
        self._has_prefetched = config.prefetch == 0
        self._stop_error: EventError | None = None
        self._stopping: asyncio.Event = asyncio.Event()
        self._idle: asyncio.TimerHandle | None = None
        self._image = config.task.image

        def access(address: QueueAddress) -> QueueAccess:
            return QueueAccess(address, channels.to(address), config.credential)

        consumer = f"pilot {os.uname().nodename} {os.getpid()}"[:128]
        self._incoming = [
            Incoming(
                access(address),
                config.max_concurrent_tasks,
                consumer,
                self._ready,
                self._watch_idleness,
            )
            for address in config.incoming
        ]
        self._outgoing = [Outgoing(access(address)) for address in config.outgoing]

    async def run(self) -> None:
        """Work until every incoming queue is drained, or nothing came for too long.

        Raises FatalError, or an exception group with one.
        """
        await self._initialize()
        self._chirps.status(PilotStatus.AWAITING_FIRST_MESSAGE)
        async with asyncio.TaskGroup() as group:
            chores = [group.create_task(out.access.keep_fresh()) for out in self._outgoing]
            chores += [
                group.create_task(self._work()) for _ in range(self._config.max_concurrent_tasks)
            ]
            chores.append(group.create_task(self._stop_when_told()))
            async with asyncio.TaskGroup() as feeding:
                for incoming in self._incoming:
                    feeding.create_task(incoming.run())
            for chore in chores:
                chore.cancel()
        if self._idle is not None:
            self._idle.cancel()
        if self._stop_error is not None:
            raise TaskErrorStop(f"stopped after a task's error: {self._stop_error}")

    async def _initialize(self) -> None:
        config = self._config
        await self._make_folder(self._data_hub)
        try:
            self._image = await self._prepare(config.task.image)
            if config.init is not None:
                self._chirps.status(PilotStatus.RUNNING_INIT_COMMAND)
                folders = Folders(self._data_hub, await self._task_folder())
                image = await self._prepare(config.init.image)
                invocation = self._runner.invocation(config.init, image, folders)
                await self._commands.run(invocation, folders.task, config.init_timeout)
                await _remove(folders.task)
        except CommandError as error:
            await asyncio.sleep(config.quarantine_time)
            raise InitFailed(f"the init command failed: {error}") from error

    async def _prepare(self, image: str) -> str:
        ready_image, invocation = self._runner.prepare(image, self._scratch)
        if invocation is not None and not Path(ready_image).exists():
            await self._commands.run(invocation, self._scratch, self._config.init_timeout)
        return ready_image

    async def _work(self) -> None:
        while True:
            held = await self._ready.get()
            if held.is_lost:
                continue
            if not self._has_message:
                self._has_message = True
                self._chirps.status(PilotStatus.TASKING)
            held.work = asyncio.create_task(self._process(held))
            try:
                await held.work
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if not held.is_lost or (task is not None and task.cancelling()):
                    raise

    async def _process(self, held: Held) -> None:
        started = time.monotonic()
        try:
            results = await self._results(held)
            for outgoing in self._outgoing if results is not None else ():
                assert results is not None
                event = held.message.event
                await outgoing.publish(
                    held.queue.mqid, event.event_id or held.id, results, event.headers
                )
        except EventError as error:
            await self._fail(held, error)
            return
        held.queue.acknowledge(held)
        self._n_success += 1
        self._tell_counts()
        if not self._has_prefetched and time.monotonic() - started < _PREFETCH_BELOW:
            self._has_prefetched = True
            for incoming in self._incoming:
                incoming.grant(self._config.prefetch)

    async def _results(self, held: Held) -> bytes | None:
        """Run the task. What it wrote; None if there is nothing to publish."""
        config = self._config
        folder = await self._task_folder()
        try:
            folders = Folders(
                self._data_hub,
                folder,
                infile=f"{folder.name}{config.infile_ext}",
                outfile=f"{folder.name}-result{config.outfile_ext}",
            )
            await _write(folder / folders.infile, held.message.event.payload)
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
            if not self._outgoing:
                return None
            return await asyncio.to_thread(_read_result, outfile)
        finally:
            await _remove(folder)

    async def _fail(self, held: Held, error: EventError) -> None:
        event_id = held.message.event.event_id
        _LOG.error("event %s, delivery %d: %s", event_id, held.message.n_deliveries, error)
        self._n_failed += 1
        self._chirps.error(_headline(error))
        self._tell_counts()
        # On a bad worker events fail fast: the wait keeps it from failing them all.
        await asyncio.sleep(self._config.quarantine_time)
        held.queue.refuse(held, str(error), requeue=error.may_repeat)
        if self._config.stop_listening_on_task_error:
            self._stop_error = self._stop_error or error
            self._stopping.set()

    async def _stop_when_told(self) -> None:
        await self._stopping.wait()
        if any(not incoming.is_idle for incoming in self._incoming):
            self._chirps.status(PilotStatus.PENDING_REMAINING_TASKS)
        for incoming in self._incoming:
            await incoming.stop()

    def _watch_idleness(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        config = self._config
        timeout = config.incoming_timeout if self._has_message else config.first_message_timeout
        if timeout is not None and all(incoming.is_idle for incoming in self._incoming):
            self._idle = asyncio.get_running_loop().call_later(timeout, self._stopping.set)

    def _tell_counts(self) -> None:
        self._chirps.counts(self._n_failed + self._n_success, self._n_failed, self._n_success)

    async def _task_folder(self) -> Path:
        folder = self._scratch / f"task-{next(self._numbers)}"
        await self._make_folder(folder)
        return folder

    async def _make_folder(self, folder: Path) -> None:
        try:
            await asyncio.to_thread(folder.mkdir)
        except OSError as error:
            raise ScratchUnusable(f"no folder for a task: {error}") from error


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


def _headline(error: EventError) -> str:
    """The error in a line, without what differs from event to event, so that it can be counted."""
    if isinstance(error, CommandError) and error.stderr_tail:
        return f"{error.problem}: {error.stderr_tail.splitlines()[-1]}"
    return str(error)


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
