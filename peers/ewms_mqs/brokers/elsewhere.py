"""What the interface of brokers asks of one whose events EventService does not serve: nothing.

`Access` turns away whoever comes for events, so that none of this is reached; should it be, the
answer is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from ewms.mqs.v1.event_service_pb2 import Event
from ewms_mqs.brokers import Claimed
from ewms_mqs.errors import EventsElsewhere
from ewms_mqs.model import DeliveryId, Queue, QueueNo, Settled, Settlement

__all__ = ["NoEvents"]


class NoEvents:
    """The half of `Broker` that has to do with events, for a broker of another program."""

    def __init__(self, broker: str, address: str) -> None:
        self._broker = broker
        self._address = address

    async def publish(self, queue: Queue, batches: Sequence[Sequence[Event]]) -> list[int]:
        """Raises EventsElsewhere."""
        self._refuse(queue)

    async def claim(self, queue: Queue, limit: int, max_bytes: int) -> Claimed:
        """Raises EventsElsewhere."""
        self._refuse(queue)

    async def settle(self, queue: Queue, settlement: Settlement) -> Settled:
        """Raises EventsElsewhere."""
        self._refuse(queue)

    async def give_back(self, queue: Queue, deliveries: Sequence[DeliveryId]) -> None:
        """Raises EventsElsewhere."""
        self._refuse(queue)

    async def ready_queues(self, queues: Sequence[QueueNo]) -> list[QueueNo]:
        """None: nobody waits for events here."""
        return []

    def _refuse(self, queue: Queue) -> NoReturn:
        raise EventsElsewhere(queue, self._broker, self._address)
