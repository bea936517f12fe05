"""One consumer of a queue: its credit, what it holds, and what waits to be sent to it.

Only bookkeeping, without a task of its own: `consuming` deals events to it, the stream's handler
sends them. What waits to be sent is bounded by the credit and by bytes; a consumer who takes
nothing is dealt nothing more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from ewms_mqs.model import DeliveredEvent, DeliveryId, Settled

__all__ = ["Consumer", "Parcel"]

_MAX_CREDIT = 10_000
_MAX_BYTES_WAITING = 4 * 1024 * 1024
# A response is written at once; small ones let the next claim overlap with the sending.
_PARCEL_BYTES = 1024 * 1024
_PARCEL_EVENTS = 500


@dataclass(frozen=True, slots=True)
class Parcel:
    """What goes to the consumer in one response; `made_room`: it may be dealt to again."""

    deliveries: list[DeliveredEvent]
    settled: list[DeliveryId]
    lost: list[DeliveryId]
    made_room: bool


class Consumer:
    """One consumer.

    Parameters
    ----------
    name
        What it calls itself, for logs.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.held: dict[DeliveryId, None] = {}
        self._credit = 0
        self._waiting: deque[DeliveredEvent] = deque()
        self._bytes_waiting = 0
        self._settled: list[DeliveryId] = []
        self._lost: list[DeliveryId] = []
        self._wake = asyncio.Event()
        self._stopped = False
        self._ended = False
        self._error: Exception | None = None

    @property
    def room(self) -> int:
        """How many events may be dealt to it now."""
        if self._stopped or self._ended or self._bytes_waiting >= _MAX_BYTES_WAITING:
            return 0
        return self._credit

    def add_credit(self, n: int) -> None:
        """Allow so many deliveries more; what goes beyond 10,000 is dropped."""
        self._credit = min(self._credit + n, max(0, _MAX_CREDIT - len(self.held)))

    def deal(self, deliveries: Iterable[DeliveredEvent]) -> None:
        """Events that are leased for it."""
        for delivery in deliveries:
            self._waiting.append(delivery)
            self._bytes_waiting += delivery.size
            self.held[delivery.delivery_id] = None
            self._credit -= 1
        self._wake.set()

    def let_go(self, delivery_id: DeliveryId) -> bool:
        """A delivery is acknowledged or refused; gives its credit back. False: not its own."""
        if delivery_id not in self.held:
            return False
        del self.held[delivery_id]
        self._credit += 1
        return True

    def stop(self) -> None:
        """Take nothing more; what waits to be sent is dropped, since it is given back."""
        self._stopped = True
        self._waiting.clear()
        self._bytes_waiting = 0

    def tell(self, outcome: Settled) -> None:
        """Something that it settled is durable now, or came too late."""
        self._settled += outcome.settled
        self._lost += outcome.lost
        self._wake.set()

    def end(self, error: Exception | None = None) -> None:
        """Nothing more will come: the queue is drained, or the error has happened."""
        if not self._ended:
            self._ended, self._error = True, error
            self._wake.set()

    async def next_parcel(self) -> Parcel | None:
        """What to send next; None at the end. Raises what it ended with."""
        while not (self._waiting or self._settled or self._lost):
            if self._ended:
                if self._error is not None:
                    raise self._error
                return None
            self._wake.clear()
            await self._wake.wait()
        was_full = self._bytes_waiting >= _MAX_BYTES_WAITING
        taken = self._take_waiting()
        made_room = was_full and self._bytes_waiting < _MAX_BYTES_WAITING
        parcel = Parcel(taken, self._settled, self._lost, made_room)
        self._settled, self._lost = [], []
        return parcel

    def _take_waiting(self) -> list[DeliveredEvent]:
        taken: list[DeliveredEvent] = []
        size = 0
        while self._waiting and len(taken) < _PARCEL_EVENTS:
            if taken and size + self._waiting[0].size > _PARCEL_BYTES:
                break
            taken.append(self._waiting.popleft())
            size += taken[-1].size
        self._bytes_waiting -= size
        return taken
