"""What a broker must do, whoever keeps the events; `postgres` is the first implementation.

Guarantees that every broker's events are durable once published and delivered at least once.
What some brokers can and others cannot is said by `Capabilities`: callers and the shared suite of
tests ask there, never by a broker's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, Protocol

from ewms.mqs.v1.event_service_pb2 import Event
from ewms_mqs.model import (
    Counts,
    DeadLetter,
    DeliveredEvent,
    DeliveryId,
    Queue,
    QueueNo,
    Settled,
    Settlement,
)
from ewms_postgres.database import Transaction

__all__ = ["Broker", "BrokerType", "Capabilities", "Claimed", "DeadLetterPage"]

BrokerType = Literal["postgres", "rabbitmq"]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a broker can do beyond keeping and delivering.

    Parameters
    ----------
    serves_events
        EventService serves its queues; otherwise clients speak to the broker itself.
    leases
        A delivery that is not settled in time is delivered again.
    extends
        A consumer can prolong the lease of a single delivery.
    settles_elsewhere
        A delivery can be settled on another connection, by its id.
    drops_repeats
        An event whose id it remembers is not published again.
    fences_publishers
        No event is confirmed after the queue's close; otherwise that is the publishers' promise.
    retries_later
        An event that is refused comes again behind the others; otherwise before them.
    keeps_reasons
        A dead letter says why its consumer refused it, and how often it was delivered.
    returns_uncounted
        A delivery that is given back does not count, and waits in its old place.
    """

    serves_events: bool
    leases: bool
    extends: bool
    settles_elsewhere: bool
    drops_repeats: bool
    fences_publishers: bool
    retries_later: bool
    keeps_reasons: bool
    returns_uncounted: bool


@dataclass(frozen=True, slots=True)
class Claimed:
    """Deliveries in the order of the queue; `has_more`: others were left for want of bytes."""

    deliveries: list[DeliveredEvent]
    has_more: bool


@dataclass(frozen=True, slots=True)
class DeadLetterPage:
    """Dead letters, oldest first; `next_after` leads to the next page, None on the last."""

    dead_letters: list[DeadLetter]
    next_after: int | None


class Broker(Protocol):
    """Keeps the events of queues that the register knows.

    Every method may raise DatabaseUnavailable (or what a broker elsewhere has for it), and those
    on a single queue QueueNotFound once it is released. Each is idempotent unless it says so.
    """

    @property
    def type(self) -> BrokerType:
        """As it stands in queue profiles."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""

    async def make_ready(self, queues: Sequence[Queue]) -> None:
        """Return once the queues, whose grant is committed, can be used.

        What is to be declared elsewhere is written down by the grant (`mqs.grant_queues`), so
        that no transaction is open across a call.

        Raises BrokerNotReady when they cannot yet; then it is called again.
        """

    async def delete_queues(self, tx: Transaction, queues: Sequence[Queue]) -> None:
        """Have the queues and all their events gone some time after the transaction commits."""

    async def publish(self, queue: Queue, batches: Sequence[Sequence[Event]]) -> list[int]:
        """Make all batches durable, or none; return how many events of each were no repeats.

        Not idempotent but for events with an id. Raises QueueClosed.
        """

    async def claim(self, queue: Queue, limit: int, max_bytes: int) -> Claimed:
        """Lease up to `limit` events that wait, and no more than fit, but at least one.

        Events that other processes are claiming at this moment are passed over.
        """

    async def settle(self, queue: Queue, settlement: Settlement) -> Settled:
        """Acknowledge, refuse and extend, durably.

        What is acknowledged already counts as settled, so that a repeat is harmless.
        """

    async def give_back(self, queue: Queue, deliveries: Sequence[DeliveryId]) -> None:
        """Let deliveries that nobody worked on wait again at once, as if never delivered."""

    async def close_queues(self, queues: Sequence[QueueNo]) -> list[QueueNo]:
        """Accept no more events in these queues, and return those that were open until now."""

    async def drain_queues(self, queues: Sequence[QueueNo]) -> list[QueueNo]:
        """Mark as drained those that are closed, empty and settled; return the newly drained."""

    async def ready_queues(self, queues: Sequence[QueueNo]) -> list[QueueNo]:
        """Return those of the queues in which an event waits."""

    async def counts(self, queues: Sequence[QueueNo]) -> dict[QueueNo, Counts]:
        """Return the counts of those queues that exist."""

    async def changed_counts(self, within: timedelta) -> dict[QueueNo, Counts]:
        """Return the counts of queues in which something happened within that time, at least."""

    async def list_dead_letters(self, queue: Queue, limit: int, after: int) -> DeadLetterPage:
        """Return a page of dead letters; `after` is the page before's `next_after`, or 0.

        Of a released private queue, too, for the retention. As many as fit into one message.
        """

    async def requeue_dead_letters(
        self, queue: Queue, ids: Sequence[str] | None, request_id: str = ""
    ) -> int:
        """Let dead letters wait again with a fresh count; return how many.

        All of them, for None; else these, or none of them. A repeat of a request that names them
        changes nothing and returns the same. Raises QueueDrained, DeadLettersNotFound,
        RequestTaken.
        """
