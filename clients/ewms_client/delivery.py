"""Deliveries, and the book that a consumer keeps of those that it holds: which are being worked on,
what is to be said about each, and what the broker has answered. At most one thing is said about a
delivery at a time, so every answer is understood; what a broken stream left open is said again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto

from ewms.mqs.v1 import event_service_pb2
from ewms_client.errors import DeliveryLost

__all__ = ["Delivery", "LeaseBook", "Statement", "Verb"]


class Verb(Enum):
    """What can be said about a delivery."""

    ACK = auto()
    NACK = auto()
    EXTEND = auto()


@dataclass(frozen=True, slots=True)
class Statement:
    """One thing said about a delivery. `requeue` and `reason` belong to NACK."""

    verb: Verb
    requeue: bool = True
    reason: str = ""


_Settle = Callable[[str, Statement], Awaitable[None]]


class Delivery:
    """An event as it was delivered. Settle it with `ack` or `nack`; until then its lease holds."""

    __slots__ = ("_message", "_settle", "is_lost")

    def __init__(self, message: event_service_pb2.Delivery, settle: _Settle) -> None:
        self._message, self._settle = message, settle
        self.is_lost = False

    @property
    def delivery_id(self) -> str:
        """Id of this delivery."""
        return self._message.delivery_id

    @property
    def event_id(self) -> str:
        """Id of the event: the same each time that it is delivered."""
        return self._message.event.event_id

    @property
    def payload(self) -> bytes:
        """The event itself."""
        return self._message.event.payload

    @property
    def headers(self) -> Mapping[str, str]:
        """What its publisher put beside it."""
        return self._message.event.headers

    @property
    def n_deliveries(self) -> int:
        """1 on the first delivery of the event."""
        return self._message.n_deliveries

    @property
    def publish_time(self) -> datetime:
        """When the event was published."""
        return self._message.publish_time.ToDatetime(tzinfo=UTC)

    def ack(self) -> Awaitable[None]:
        """Say that the event is done. On its way at once; await it to know that it is durable.

        DeliveryLost, when awaited: the lease had run out, and the event comes again.
        """
        return self._settle(self.delivery_id, Statement(Verb.ACK))

    def nack(self, *, requeue: bool = True, reason: str = "") -> Awaitable[None]:
        """Give the event back: to be delivered again, or else to the dead letters. Like `ack`."""
        return self._settle(self.delivery_id, Statement(Verb.NACK, requeue, reason))


@dataclass(slots=True)
class _Lease:
    delivery: Delivery
    stream: int
    wanted: Statement | None = None
    in_flight: Statement | None = None
    settled: asyncio.Future[None] | None = None


class LeaseBook:
    """The deliveries that are held, by id."""

    def __init__(self) -> None:
        self._leases: dict[str, _Lease] = {}

    def __len__(self) -> int:
        return len(self._leases)

    @property
    def n_settling(self) -> int:
        """How many are acknowledged or refused, but not confirmed."""
        return sum(lease.settled is not None for lease in self._leases.values())

    def hold(self, delivery: Delivery, stream: int) -> None:
        """A delivery came on this stream."""
        self._leases[delivery.delivery_id] = _Lease(delivery, stream)

    def settle(self, delivery_id: str, statement: Statement) -> asyncio.Future[None]:
        """Have this said. The future is done when it is durable. The first statement counts."""
        lease = self._leases.get(delivery_id)
        if lease is not None and lease.settled is not None:
            return lease.settled
        settled = asyncio.get_running_loop().create_future()
        if lease is None:
            settled.set_exception(DeliveryLost(delivery_id))
        else:
            lease.wanted, lease.settled = statement, settled
        return settled

    def extend_all(self) -> None:
        """Have the lease begin anew of whatever is not being settled."""
        for lease in self._leases.values():
            if lease.wanted is None and lease.in_flight is None:
                lease.wanted = Statement(Verb.EXTEND)

    def unsaid(self) -> list[tuple[str, int, Statement]]:
        """What is to be said now, and on which stream each delivery came."""
        return [
            (delivery_id, lease.stream, lease.wanted)
            for delivery_id, lease in self._leases.items()
            if lease.wanted is not None and lease.in_flight is None
        ]

    def note_said(self, delivery_ids: Iterable[str]) -> None:
        """These statements are on their way."""
        for delivery_id in delivery_ids:
            lease = self._leases[delivery_id]
            lease.in_flight, lease.wanted = lease.wanted, None

    def note_settled(self, delivery_ids: Iterable[str]) -> None:
        """The broker confirms what was said about these."""
        for delivery_id in delivery_ids:
            lease = self._leases.get(delivery_id)
            if lease is None or lease.in_flight is None:
                continue
            if lease.in_flight.verb is Verb.EXTEND:
                lease.in_flight = None
                continue
            del self._leases[delivery_id]
            if lease.settled is not None and not lease.settled.done():
                lease.settled.set_result(None)

    def note_lost(self, delivery_ids: Iterable[str]) -> None:
        """The broker says that it was too late for these."""
        for delivery_id in delivery_ids:
            lease = self._leases.pop(delivery_id, None)
            if lease is not None:
                self._fail(lease, DeliveryLost(delivery_id))

    def note_stream_broke(self) -> None:
        """What is on its way may not have arrived: acknowledgements and refusals are said again."""
        for lease in self._leases.values():
            said, lease.in_flight = lease.in_flight, None
            if said is not None and said.verb is not Verb.EXTEND:
                lease.wanted = said

    def fail_all(self, error: Exception | None) -> None:
        """No answer comes any more. Without an error: the deliveries have gone back."""
        leases, self._leases = self._leases, {}
        for delivery_id, lease in leases.items():
            self._fail(lease, error or DeliveryLost(delivery_id))

    @staticmethod
    def _fail(lease: _Lease, error: Exception) -> None:
        lease.delivery.is_lost = True
        if lease.settled is not None and not lease.settled.done():
            lease.settled.set_exception(error)
