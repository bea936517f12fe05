"""Events on their way into a queue: what a publisher hands over, and the outbox in which they stay
until they are confirmed. The outbox is bounded in bytes, keeps the order, and can be read again
from the first unconfirmed event, with the same ids, so that the broker drops what it already has.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from uuid import uuid4

from ewms.mqs.v1 import event_service_pb2

__all__ = ["Event", "Events", "Outbox", "each"]

BATCH_BYTES = 1024 * 1024
BATCH_EVENTS = 1000
OUTBOX_BYTES = 8 * 1024 * 1024
_EVENT_OVERHEAD = 64


@dataclass(frozen=True, slots=True)
class Event:
    """An event to publish: at most 15 MiB, and at most 64 headers.

    The broker drops a repeat of an `event_id` that the queue still remembers. Default: a new one.
    """

    payload: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    event_id: str = field(default_factory=lambda: uuid4().hex)


Events = Iterable[bytes | Event] | AsyncIterable[bytes | Event]
"""What can be published. An iterable that blocks should be an async one instead."""


async def each(events: Events) -> AsyncIterator[Event]:
    """The events one by one, those given as bytes with an id of their own."""
    if isinstance(events, AsyncIterable):
        async for event in events:
            yield event if isinstance(event, Event) else Event(event)
    else:
        for event in events:
            yield event if isinstance(event, Event) else Event(event)


class Outbox:
    """Events from the publisher to the stream, in batches, kept until they are confirmed."""

    def __init__(self, mqid: str) -> None:
        self.n_confirmed = 0
        self._mqid = mqid
        self._waiting: deque[event_service_pb2.Event] = deque()
        self._unconfirmed: deque[event_service_pb2.PublishRequest] = deque()
        self._n_sent = 0  # of the unconfirmed batches, on the stream that is open now
        self._bytes = 0
        self._is_closed = False
        self._changed = asyncio.Condition()

    @property
    def is_done(self) -> bool:
        """Whether nothing more comes, and all that came is confirmed."""
        return self._is_closed and not self._waiting and not self._unconfirmed

    async def put(self, event: Event) -> None:
        """Take one more event, as soon as there is room for it."""
        message = event_service_pb2.Event(
            event_id=event.event_id, payload=event.payload, headers=event.headers
        )
        size = message.ByteSize()
        async with self._changed:
            await self._changed.wait_for(lambda: self._has_room_for(size))
            self._waiting.append(message)
            self._bytes += size
            self._changed.notify_all()

    async def close(self) -> None:
        """Nothing more comes."""
        async with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def rewind(self) -> None:
        """A new stream is open: send again what is not confirmed."""
        self._n_sent = 0

    async def next_batch(self) -> event_service_pb2.PublishRequest | None:
        """The next batch for the stream, as soon as there is one. None: there is no more."""
        async with self._changed:
            await self._changed.wait_for(
                lambda: self._n_sent < len(self._unconfirmed) or self._waiting or self._is_closed
            )
            if self._n_sent == len(self._unconfirmed):
                if not self._waiting:
                    return None
                self._unconfirmed.append(self._batch())
            batch = self._unconfirmed[self._n_sent]
            self._n_sent += 1
            return batch

    async def confirm(self, n_batches: int) -> None:
        """The first so many of the unconfirmed batches are durable."""
        async with self._changed:
            for _ in range(n_batches):
                batch = self._unconfirmed.popleft()
                self._n_sent -= 1
                self.n_confirmed += len(batch.events)
                self._bytes -= sum(event.ByteSize() for event in batch.events)
            self._changed.notify_all()

    def _has_room_for(self, size: int) -> bool:
        return self._bytes == 0 or self._bytes + size <= OUTBOX_BYTES

    def _batch(self) -> event_service_pb2.PublishRequest:
        batch = event_service_pb2.PublishRequest(mqid=self._mqid)
        room = BATCH_BYTES
        while self._waiting and len(batch.events) < BATCH_EVENTS:
            size = self._waiting[0].ByteSize() + _EVENT_OVERHEAD
            if batch.events and size > room:
                break
            room -= size
            batch.events.append(self._waiting.popleft())
        return batch
