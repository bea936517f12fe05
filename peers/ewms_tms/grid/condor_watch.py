"""What happens on HTCondor: a schedd's job event logs, and the pool's room.

Guarantees that the pilot's secrets are gone from the disk once their cluster has left the queue.
The log is followed as the kernel says that it has grown; only the collector, which tells nobody
anything, is asked again and again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import structlog

from ewms_rpc.backoff import Backoff
from ewms_tms.follower import LogObserver
from ewms_tms.grid import Capacity, GridError, Observation
from ewms_tms.grid.condor_calls import CondorCalls
from ewms_tms.grid.condor_files import TaskforceFiles
from ewms_tms.grid.condor_messages import MeasureRoom
from ewms_tms.grid.condor_workers import Workers

__all__ = ["CondorObserver", "CondorReservation"]

_LONGEST_WAIT_FOR_ROOM = 300.0

log = structlog.get_logger(__name__)


class CondorObserver:
    """A schedd's job event logs; removes secrets of clusters that have left the queue."""

    def __init__(self, files: TaskforceFiles, workers: Workers) -> None:
        self._files, self._workers = files, workers

    async def follow(self) -> AsyncGenerator[Observation, None]:
        """All events from the beginning of every log, then each as it is written."""
        self._workers.clear()
        async with aclosing(LogObserver(self._files.logs).follow()) as observations:
            async for observation in observations:
                for cluster in self._workers.apply(observation.events):
                    await asyncio.to_thread(
                        self._files.remove_secrets, cluster.taskforce, cluster.attempt
                    )
                yield observation


class CondorReservation:
    """The pool's room, by the collector; our own workers, by the log."""

    def __init__(self, calls: CondorCalls, workers: Workers, interval: float) -> None:
        self._calls, self._workers, self._interval = calls, workers, interval

    async def changes(self) -> AsyncIterator[Capacity]:
        """The capacity now, then whenever a later look finds it changed."""
        before: Capacity | None = None
        backoff = Backoff(first=self._interval, limit=_LONGEST_WAIT_FOR_ROOM)
        while True:
            try:
                room = await self._calls.do(MeasureRoom())
            except GridError as error:
                log.warning("the pool's room is not known", error=str(error))
                await backoff.wait()
                continue
            backoff.reset()
            capacity = Capacity(
                total_slots=room.total_slots,
                free_slots=room.free_slots,
                total_cores=room.total_cores,
                free_cores=room.free_cores,
                total_memory_bytes=room.total_memory_bytes,
                free_memory_bytes=room.free_memory_bytes,
                n_idle_workers=self._workers.n_idle,
                n_running_workers=self._workers.n_running,
            )
            if capacity != before:
                before = capacity
                yield capacity
            await asyncio.sleep(self._interval)
