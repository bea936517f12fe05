"""Counts for watchers: one query for all who look at the same moment, rates, and only what changed.

A meter belongs to one watch. It compares with what it told last, so that a quiet queue costs
nothing, and a queue that has become quiet is told once more, with rates of zero.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from ewms_mqs.brokers import Broker
from ewms_mqs.model import Counts, QueueNo

__all__ = ["Meter", "Reading", "RecentCounts"]

_LOOK_BACK = timedelta(seconds=10)
_SHARED_SECONDS = 0.09


@dataclass(frozen=True, slots=True)
class Reading:
    """A queue's counts, and events a second since the reading before."""

    counts: Counts
    publish_rate: float = 0.0
    ack_rate: float = 0.0


class RecentCounts:
    """The counts of all queues in which something happened lately, read at most ten times a second.

    `LONGEST_INTERVAL` is how often one must look, in seconds, so as to miss nothing.
    """

    LONGEST_INTERVAL = 5.0

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._reading = asyncio.Lock()
        self._read_at = float("-inf")
        self._counts: dict[QueueNo, Counts] = {}

    async def read(self) -> dict[QueueNo, Counts]:
        """The counts, at most 90 ms old."""
        async with self._reading:
            if time.monotonic() - self._read_at > _SHARED_SECONDS:
                self._counts = await self._broker.changed_counts(_LOOK_BACK)
                self._read_at = time.monotonic()
            return self._counts


class Meter:
    """What one watch was told of each queue."""

    def __init__(self) -> None:
        self._told: dict[QueueNo, Reading] = {}
        self._sampled: dict[QueueNo, tuple[float, Counts]] = {}

    def changes(self, counts: Iterable[tuple[QueueNo, Counts]]) -> dict[QueueNo, Reading]:
        """The readings that differ from what was told, which are then told."""
        now = time.monotonic()
        changed = {}
        for queue, current in counts:
            reading = self._read(queue, current, now)
            if self._told.get(queue) != reading:
                self._told[queue] = changed[queue] = reading
        return changed

    def _read(self, queue: QueueNo, current: Counts, now: float) -> Reading:
        then, before = self._sampled.get(queue, (now, current))
        self._sampled[queue] = now, current
        elapsed = now - then
        if elapsed <= 0:
            return Reading(current)
        return Reading(
            current,
            round((current.published - before.published) / elapsed, 3),
            round((current.done - before.done) / elapsed, 3),
        )

    def forget(self, queue: QueueNo) -> None:
        """The queue is gone."""
        self._told.pop(queue, None)
        self._sampled.pop(queue, None)
