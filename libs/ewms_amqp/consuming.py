"""Events in: a subscription to one queue on a connection of its own.

A delivery belongs to its channel: it is settled there or, when that breaks, delivered again by the
broker, to whomever. An acknowledgement has no answer; closing in order is what makes sure that it
arrived. A body that nobody can read goes to the dead letters and is not delivered.
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

__all__ = ["Arrival", "Subscription", "event_id_of", "subscribed"]

_LOG = logging.getLogger(__name__)


@dataclass(eq=False)
class Arrival:
    """An event as it was delivered. `n_deliveries` is 1 on the first delivery."""

    body: Body
    event_id: str
    n_deliveries: int
    publish_time: datetime
    delivery_id: str
    _message: AbstractIncomingMessage = field(repr=False)

    async def ack(self) -> None:
        """Say that the event is done. Raises AmqpFailure when its channel is gone."""
        with amqp_errors():
            await self._message.ack()

    async def reject(self, *, requeue: bool) -> None:
        """Give the event back, or else to the dead letters. Raises as `ack`."""
        with amqp_errors():
            await self._message.reject(requeue=requeue)


class Subscription:
    """Consumers of one queue on one channel."""

    def __init__(self, channel: Any, mqid: str, on_arrival: Callable[[Arrival], None]) -> None:
        self._channel = channel
        self._mqid = mqid
        self._on_arrival = on_arrival
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue: Any = None
        self._tags: list[str] = []
        channel.close_callbacks.add(self._channel_closed)

    async def grant(self, credit: int) -> None:
        """Let so many deliveries more be unsettled at a time. Raises AmqpFailure."""
        with amqp_errors():
            # The limit is each consumer's own, so that more credit is one consumer more.
            await self._channel.set_qos(prefetch_count=min(credit, 65_535))
            if self._queue is None:
                self._queue = await self._channel.get_queue(self._mqid, ensure=False)
                underlay = await self._channel.get_underlay_channel()
                underlay.on_consumer_cancel_callbacks.add(self._cancelled_by_broker)
            self._tags.append(await self._queue.consume(self._arrived))

    async def ended(self) -> None:
        """Return never; raises AmqpFailure when the channel or the consumer is gone."""
        with amqp_errors():
            await asyncio.shield(self._broken)

    async def cancel(self) -> None:
        """Take nothing more; what is unsettled stays to be settled. Raises AmqpFailure."""
        tags, self._tags = self._tags, []
        with amqp_errors():
            for tag in tags:
                await self._queue.cancel(tag)

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

    async def _arrived(self, message: AbstractIncomingMessage) -> None:
        try:
            body = decode_body(message.body)
        except NotABody as error:
            _LOG.warning("an event of queue %s cannot be read: %s", self._mqid, error)
            with amqp_errors():
                await message.reject(requeue=False)
            return
        self._on_arrival(
            Arrival(
                body,
                event_id_of(message),
                _n_deliveries(message),
                message.timestamp or datetime.now(UTC),
                f"{id(self._channel):x}.{message.delivery_tag}",
                message,
            )
        )


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
    with amqp_errors():
        channel = await connection.channel(publisher_confirms=False)
    yield Subscription(channel, mqid, on_arrival)
