"""Publishing: batches of many publishers to one queue become one statement.

Guarantees that a batch is confirmed only once it is durable, whole, and in the order in which its
publisher sent it. A batch that arrives while no other is on its way waits for nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ewms.mqs.v1.event_service_pb2 import Event
from ewms_mqs.brokers import Broker
from ewms_mqs.coalescing import Lane
from ewms_mqs.config import MqsSettings
from ewms_mqs.errors import BrokerFull
from ewms_mqs.model import Queue, QueueNo

__all__ = ["Publishing"]

_BYTES_A_STATEMENT = 8 * 1024 * 1024
# What an event costs beyond its payload, so that tiny ones do not make a huge statement.
_BYTES_AN_EVENT = 512


class Publishing:
    """Hands batches to the broker, a lane for each queue that is being published to."""

    def __init__(self, broker: Broker, settings: MqsSettings) -> None:
        self._broker = broker
        self._limit = settings.max_events_total
        self._retry_after = settings.retry_after
        self._lanes: dict[QueueNo, Lane[Sequence[Event], int]] = {}
        self._is_full = False

    def note_kept(self, n_events: int) -> None:
        """Publishing is refused while the broker keeps more events than it may."""
        self._is_full = n_events >= self._limit

    def submit(self, queue: Queue, events: Sequence[Event]) -> asyncio.Future[int]:
        """Queue a batch up; the future says how many of its events were no repeats.

        Raises BrokerFull; the future raises what the broker does.
        """
        if self._is_full:
            raise BrokerFull(self._limit, self._retry_after)
        lane = self._lanes.get(queue.number)
        if lane is None:
            lane = self._lanes[queue.number] = Lane(
                lambda batches: self._broker.publish(queue, batches),
                _BYTES_A_STATEMENT,
                lambda: self._drop(queue.number),
            )
        weight = sum(len(event.payload) for event in events) + _BYTES_AN_EVENT * len(events)
        return lane.submit(events, weight)

    def _drop(self, queue: QueueNo) -> None:
        self._lanes.pop(queue, None)
