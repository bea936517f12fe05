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
_PARCEL_IDS = 20_000


@dataclass(frozen=True, slots=True)
class Parcel:
    """What goes to the consumer in one response.

    `made_room`: it may be dealt to again. `asks`: whether it is still there.
    """

    deliveries: list[DeliveredEvent]
    settled: list[DeliveryId]
    lost: list[DeliveryId]
    made_room: bool
    asks: bool


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
        self._has_heard = asyncio.Event()
        self._is_asked = False
        self._answered = asyncio.Event()
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

    async def leave_in_order(self) -> None:
        """Take nothing more, and return once an empty message has been sent.

        To a server, a connection that breaks may look like a consumer that half-closes; but only
        to the latter can something be sent. What waits to be sent is dropped.
        """
        self._stopped = True
        self._waiting.clear()
        self._bytes_waiting = 0
        self._is_asked = True
        self._wake.set()
        await self._answered.wait()

    def sent(self, parcel: Parcel) -> None:
        """A parcel has been sent."""
        if parcel.asks:
            self._answered.set()

    def tell(self, outcome: Settled) -> None:
        """Something that it settled is durable now, or came too late."""
        self._settled += outcome.settled
        self._lost += outcome.lost
        self._wake.set()

    async def room_to_tell(self) -> None:
        """Wait until it has heard enough of what it settled to be told of more."""
        while len(self._settled) + len(self._lost) > _PARCEL_IDS and not self._ended:
            self._has_heard.clear()
            await self._has_heard.wait()

    def end(self, error: Exception | None = None) -> None:
        """Nothing more will come: the queue is drained, or the error has happened."""
        if not self._ended:
            self._ended, self._error = True, error
            self._wake.set()
            self._has_heard.set()

    async def next_parcel(self) -> Parcel | None:
        """What to send next; None at the end. Raises what it ended with."""
        while not (self._waiting or self._settled or self._lost or self._is_asked):
            if self._ended:
                if self._error is not None:
                    raise self._error
                return None
            self._wake.clear()
            await self._wake.wait()
        was_full = self._bytes_waiting >= _MAX_BYTES_WAITING
        taken = self._take_waiting()
        made_room = was_full and self._bytes_waiting < _MAX_BYTES_WAITING
        parcel = Parcel(
            taken,
            self._settled[:_PARCEL_IDS],
            self._lost[:_PARCEL_IDS],
            made_room,
            self._is_asked,
        )
        del self._settled[:_PARCEL_IDS], self._lost[:_PARCEL_IDS]
        self._has_heard.set()
        self._is_asked = False
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
