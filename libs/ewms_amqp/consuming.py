"""Events in: a subscription to one queue on a connection of its own.

A delivery belongs to its channel: it is settled there or, when that breaks, delivered again by the
broker, to whomever. An acknowledgement has no answer; closing in order makes sure that it arrived,
as long as a channel has no more than `PER_CHANNEL` of them under way: so more credit is another
channel. A body that nobody can read goes to the dead letters and is not delivered.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aio_pika.abc import AbstractConnection, AbstractIncomingMessage

from ewms_amqp.body import Body, NotABody, decode_body
from ewms_amqp.errors import ConnectionBroken, QueueGone, amqp_errors

__all__ = ["PER_CHANNEL", "Arrival", "Subscription", "event_id_of", "subscribed"]

_LOG = logging.getLogger(__name__)

# A channel of RabbitMQ passes so many settlements on to a quorum queue before the queue has
# answered the first (`quorum_commands_soft_limit`). Those beyond it keeps back, and it forgets
# them when it is closed: the events would be delivered again, though they were acknowledged.
PER_CHANNEL = 32


@dataclass(eq=False)
class _Consumer:
    """A consumer at the broker, which has at most `prefetch` unsettled events with it."""

    prefetch: int
    tag: str = ""
    n_unsettled: int = 0
    is_live: bool = True

    @property
    def n_reserved(self) -> int:
        """How many events may be unsettled with it from now on."""
        return self.prefetch if self.is_live else self.n_unsettled


@dataclass(eq=False)
class _Lane:
    """A channel with its consumers."""

    channel: Any
    queue: Any
    consumers: list[_Consumer] = field(default_factory=list)

    @property
    def room(self) -> int:
        """How many events more may be unsettled on it."""
        return PER_CHANNEL - sum(c.n_reserved for c in self.consumers)


@dataclass(eq=False)
class Arrival:
    """An event as it was delivered. `n_deliveries` is 1 on the first delivery."""

    body: Body
    event_id: str
    n_deliveries: int
    publish_time: datetime
    delivery_id: str
    _message: AbstractIncomingMessage = field(repr=False)
    _consumer: _Consumer = field(repr=False)

    @property
    def brings_another(self) -> bool:
        """Whether its settlement lets another one come."""
        return self._consumer.is_live

    async def ack(self) -> None:
        """Say that the event is done. Raises AmqpFailure when its channel is gone."""
        # Before anybody else can look: what this lets come is to be reckoned with from now on.
        self._consumer.n_unsettled -= 1
        with amqp_errors():
            await self._message.ack()

    async def reject(self, *, requeue: bool) -> None:
        """Give the event back, or else to the dead letters. Raises as `ack`."""
        self._consumer.n_unsettled -= 1
        with amqp_errors():
            await self._message.reject(requeue=requeue)


class Subscription:
    """Consumers of one queue on as many channels as their credit takes."""

    def __init__(
        self, connection: AbstractConnection, mqid: str, on_arrival: Callable[[Arrival], None]
    ) -> None:
        self._connection = connection
        self._mqid = mqid
        self._on_arrival = on_arrival
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lanes: list[_Lane] = []
        # A consumer takes the limit that its channel has at that moment.
        self._granting = asyncio.Lock()

    @property
    def n_open(self) -> int:
        """How many events more may come, if nothing is settled."""
        return sum(c.prefetch - c.n_unsettled for _, c in self._live())

    @property
    def n_reserved(self) -> int:
        """How many events may be unsettled at a time from now on."""
        return sum(c.n_reserved for lane in self._lanes for c in lane.consumers)

    async def grant(self, credit: int) -> None:
        """Let so many deliveries more be unsettled at a time. Raises AmqpFailure."""
        async with self._granting:
            while credit > 0:
                lane = await self._lane_with_room()
                # The limit is each consumer's own, so that more credit is one consumer more.
                consumer = _Consumer(min(credit, lane.room))
                lane.consumers.append(consumer)
                credit -= consumer.prefetch
                with amqp_errors():
                    await lane.channel.set_qos(prefetch_count=consumer.prefetch)
                    consumer.tag = await lane.queue.consume(self._taker(lane, consumer))

    async def ended(self) -> None:
        """Return never; raises AmqpFailure when a channel or a consumer is gone."""
        with amqp_errors():
            await asyncio.shield(self._broken)

    async def cancel(self) -> None:
        """Take nothing more; what is unsettled stays to be settled. Raises AmqpFailure."""
        for lane, consumer in self._live():
            with amqp_errors():
                await lane.queue.cancel(consumer.tag)
            consumer.is_live = False

    def _live(self) -> list[tuple[_Lane, _Consumer]]:
        return [(lane, c) for lane in self._lanes for c in lane.consumers if c.is_live]

    async def _lane_with_room(self) -> _Lane:
        for lane in self._lanes:
            lane.consumers = [c for c in lane.consumers if c.n_reserved]
            if lane.room > 0:
                return lane
        with amqp_errors():
            channel: Any = await self._connection.channel(publisher_confirms=False)
            channel.close_callbacks.add(self._channel_closed)
            queue = await channel.get_queue(self._mqid, ensure=False)
            underlay = await channel.get_underlay_channel()
            underlay.on_consumer_cancel_callbacks.add(self._cancelled_by_broker)
        lane = _Lane(channel, queue)
        self._lanes.append(lane)
        return lane

    async def _cancelled_by_broker(self, _frame: object) -> None:
        # The queue was deleted, or its leader is elsewhere now.
        self._break(QueueGone("the broker ended the subscription"))

    def _channel_closed(self, _channel: object, error: BaseException | None) -> None:
        self._break(error or ConnectionBroken("the channel is closed"))

    def _break(self, error: BaseException) -> None:
        if not self._broken.done():
            self._broken.set_exception(error)
            # Nobody may be waiting, and that is no fault.
            self._broken.exception()

    def _taker(self, lane: _Lane, consumer: _Consumer) -> Callable[[Any], Any]:
        async def take(message: AbstractIncomingMessage) -> None:
            try:
                body = decode_body(message.body)
            except NotABody as error:
                _LOG.warning("an event of queue %s cannot be read: %s", self._mqid, error)
                with amqp_errors():
                    await message.reject(requeue=False)
                return
            consumer.n_unsettled += 1
            self._on_arrival(
                Arrival(
                    body,
                    event_id_of(message),
                    _n_deliveries(message),
                    message.timestamp or datetime.now(UTC),
                    f"{id(lane):x}.{message.delivery_tag}",
                    message,
                    consumer,
                )
            )

        return take


def event_id_of(message: AbstractIncomingMessage) -> str:
    """The id that its publisher gave, or, of a client that gives none, one made from its body."""
    if message.message_id:
        return message.message_id
    return hashlib.blake2b(message.body, digest_size=16).hexdigest()


def _n_deliveries(message: AbstractIncomingMessage) -> int:
    count = message.headers.get("x-delivery-count", 0)
    return int(count) + 1 if isinstance(count, int) else 1


@asynccontextmanager
async def subscribed(
    connection: AbstractConnection, mqid: str, on_arrival: Callable[[Arrival], None]
) -> AsyncIterator[Subscription]:
    """A subscription, to which `grant` gives its first credit. Raises AmqpFailure.

    What is unsettled at the end of the block goes back to the queue.
    """
    yield Subscription(connection, mqid, on_arrival)
