"""The work: init once, then event by event in file, task, out file, publish, acknowledge.

An event is acknowledged only when its result is durable on every outgoing queue; whatever fails
before that refuses it with the reason, and the broker delivers it again or puts it to the dead
letters. Cancelled (the worker is being removed), it kills its tasks and gives everything back.
"""

from __future__ import annotations

import asyncio
import logging
import time

from ewms_pilot.access import Channels
from ewms_pilot.chirps import Chirps, PilotStatus
from ewms_pilot.deliveries import Feed, Held
from ewms_pilot.environment import PilotConfig
from ewms_pilot.errors import CommandError, EventError, TaskErrorStop
from ewms_pilot.queues import Queues
from ewms_pilot.tasks import Tasks

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
    tasks
        Runs the init command and the tasks.
    chirps
        Told of statuses, counts and errors.
    channels
        To the brokers; the caller closes them.
    """

    def __init__(
        self, config: PilotConfig, tasks: Tasks, chirps: Chirps, channels: Channels
    ) -> None:
        self._config = config
        self._tasks = tasks
        self._chirps = chirps
        self._ready: asyncio.Queue[tuple[Feed, Held]] = asyncio.Queue()
        self._n_failed = 0
        self._n_success = 0
        self._has_message = False
        self._has_prefetched = config.prefetch == 0
        self._stop_error: EventError | None = None
        self._stopping: asyncio.Event = asyncio.Event()
        self._idle: asyncio.TimerHandle | None = None

        queues = Queues(config, channels)
        self._incoming = [
            queues.feed(address, self._ready, self._watch_idleness) for address in config.incoming
        ]
        self._outgoing = [queues.sink(address) for address in config.outgoing]

    async def run(self) -> None:
        """Work until every incoming queue is drained, or nothing came for too long.

        Raises FatalError, or an exception group with one.
        """
        if self._config.init is not None:
            self._chirps.status(PilotStatus.RUNNING_INIT_COMMAND)
        await self._tasks.initialize()
        self._chirps.status(PilotStatus.AWAITING_FIRST_MESSAGE)
        async with asyncio.TaskGroup() as group:
            chores = [group.create_task(out.run()) for out in self._outgoing]
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

    async def _work(self) -> None:
        while True:
            incoming, held = await self._ready.get()
            if held.is_lost:
                continue
            if not self._has_message:
                self._has_message = True
                self._chirps.status(PilotStatus.TASKING)
            held.work = asyncio.create_task(self._process(incoming, held))
            try:
                await held.work
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if not held.is_lost or (task is not None and task.cancelling()):
                    raise

    async def _process(self, incoming: Feed, held: Held) -> None:
        started, event = time.monotonic(), held.message.event
        try:
            result = await self._tasks.run(event.payload)
            if result is not None:
                for outgoing in self._outgoing:
                    await outgoing.publish(incoming.mqid, event, result)
        except EventError as error:
            await self._fail(incoming, held, error)
            return
        incoming.acknowledge(held)
        self._n_success += 1
        self._tell_counts()
        if not self._has_prefetched and time.monotonic() - started < _PREFETCH_BELOW:
            self._has_prefetched = True
            for queue in self._incoming:
                queue.grant(self._config.prefetch)

    async def _fail(self, incoming: Feed, held: Held, error: EventError) -> None:
        event_id = held.message.event.event_id
        _LOG.error("event %s, delivery %d: %s", event_id, held.message.n_deliveries, error)
        self._n_failed += 1
        self._chirps.error(_headline(error))
        self._tell_counts()
        # On a bad worker events fail fast: the wait keeps it from failing them all.
        await asyncio.sleep(self._config.quarantine_time)
        incoming.refuse(held, str(error), requeue=error.may_repeat)
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


def _headline(error: EventError) -> str:
    """The error in a line, without what differs from event to event, so that it can be counted."""
    if isinstance(error, CommandError) and error.stderr_tail:
        return f"{error.problem}: {error.stderr_tail.splitlines()[-1]}"
    return str(error)
