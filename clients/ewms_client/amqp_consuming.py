"""Consumes a queue from RabbitMQ: an iterator of deliveries that goes on over broken connections
and ends when the WMS says that the queue is drained. At-least-once: what was not acknowledged when
a connection broke comes again, and its `event_id` tells. An acknowledgement has no answer: awaiting
one means that it is on its way, and leaving the consumer in order means that it arrived. Needs the
extra `rabbitmq`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Awaitable
from types import TracebackType
from typing import Self

from aio_pika.abc import AbstractConnection

from ewms.mqs.v1 import event_service_pb2
from ewms_amqp.consuming import Arrival, Subscription, subscribed
from ewms_amqp.errors import AmqpFailure
from ewms_amqp.link import keep_connected
from ewms_client.amqp_link import ClientRecovery, link_to
from ewms_client.delivery import Delivery, Statement, Verb
from ewms_client.errors import DeliveryLost, RpcError
from ewms_client.queue_access import QueueAccess

__all__ = ["AmqpConsumer"]

_CLOSE_TIMEOUT = 10.0
# RabbitMQ tells nobody that nothing more will come; the WMS knows.
_LOOK_EVERY = 3.0
# A delivery that was allowed is here by then, if there is one.
_ON_ITS_WAY = 0.1


class AmqpConsumer:
    """As `Consumer`."""

    def __init__(
        self, queue: QueueAccess, *, count: int | None, credit: int, name: str, patience: float
    ) -> None:
        self._queue, self._name = queue, name
        self._count, self._credit = count, credit
        self._recovery = ClientRecovery(queue, "consuming", patience)
        self._buffer: deque[Delivery] = deque()
        self._held: dict[str, tuple[Delivery, Arrival]] = {}
        self._settling: dict[str, asyncio.Future[None]] = {}
        self._subscription: Subscription | None = None
        self._n_given = 0
        self._granting = asyncio.Lock()
        self._is_drained = False
        self._failure: BaseException | None = None
        self._arrived = asyncio.Event()
        self._came = asyncio.Event()
        self._closing = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    @property
    def is_drained(self) -> bool:
        """Whether the queue is drained: nothing comes any more."""
        return self._is_drained

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        running = self._running
        if running is None:
            return
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_TIMEOUT):
                    await asyncio.gather(*self._settling.values(), return_exceptions=True)
                    self._closing.set()
                    await asyncio.wait([running])
        finally:
            running.cancel()
            await asyncio.wait([running])

    async def __anext__(self) -> Delivery:
        if self._running is None:
            raise RuntimeError("a consumer is used with `async with`")
        while self._n_given != self._count:
            while self._buffer:
                delivery = self._buffer.popleft()
                if not delivery.is_lost:
                    self._n_given += 1
                    return delivery
            if self._running.done():
                break
            self._arrived.clear()
            await self._arrived.wait()
        if self._failure is not None and self._n_given != self._count:
            raise self._failure
        raise StopAsyncIteration

    async def _run(self) -> None:
        looking = asyncio.create_task(self._look_whether_drained())
        try:
            await keep_connected(link_to(self._queue, self._recovery, self._name), self._consume)
        except Exception as error:
            self._failure = error
        finally:
            looking.cancel()
            await asyncio.wait([looking])
            self._lose_all()
            self._arrived.set()

    async def _consume(self, connection: AbstractConnection) -> None:
        """Consume on one connection, until the consumer is left or the queue is drained."""
        try:
            async with subscribed(connection, self._queue.mqid, self._take) as subscription:
                self._subscription = subscription
                await subscription.grant(min(self._credit, self._to_come()))
                await self._until_closing(subscription)
        finally:
            self._subscription = None
            self._lose_all()

    async def _until_closing(self, subscription: Subscription) -> None:
        closing = asyncio.create_task(self._closing.wait())
        broken = asyncio.create_task(subscription.ended())
        try:
            await asyncio.wait([closing, broken], return_when=asyncio.FIRST_COMPLETED)
            if not closing.done():
                await broken
        finally:
            closing.cancel()
            broken.cancel()
            await asyncio.gather(closing, broken, return_exceptions=True)

    def _take(self, arrival: Arrival) -> None:
        self._recovery.note_progress()
        message = event_service_pb2.Delivery(
            delivery_id=arrival.delivery_id,
            event=event_service_pb2.Event(
                event_id=arrival.event_id,
                payload=arrival.body.payload,
                headers=arrival.body.headers,
            ),
            n_deliveries=arrival.n_deliveries,
        )
        message.publish_time.FromDatetime(arrival.publish_time)
        delivery = Delivery(message, self._settle)
        self._held[delivery.delivery_id] = delivery, arrival
        self._buffer.append(delivery)
        self._arrived.set()
        self._came.set()

    def _to_come(self) -> int:
        """How many may still come, beyond those that are here."""
        if self._count is None:
            return self._credit
        here = sum(not delivery.is_lost for delivery in self._buffer)
        return max(self._count - self._n_given - here, 0)

    def _settle(self, delivery_id: str, statement: Statement) -> Awaitable[None]:
        settling = self._settling.get(delivery_id)
        if settling is None:
            settling = asyncio.ensure_future(self._say(delivery_id, statement))
            self._settling[delivery_id] = settling
            settling.add_done_callback(lambda done: self._said(delivery_id, done))
        return settling

    def _said(self, delivery_id: str, done: asyncio.Future[None]) -> None:
        self._settling.pop(delivery_id, None)
        if not done.cancelled():
            # Who awaits it is told; who does not need not know.
            done.exception()

    async def _say(self, delivery_id: str, statement: Statement) -> None:
        delivery, arrival = self._held.get(delivery_id, (None, None))
        if delivery is None or arrival is None or delivery.is_lost:
            raise DeliveryLost(delivery_id)
        try:
            await self._stop_in_time(arrival)
            if statement.verb is Verb.ACK:
                await arrival.ack()
            else:
                await arrival.reject(requeue=statement.requeue)
        except AmqpFailure as failure:
            raise DeliveryLost(delivery_id) from failure
        self._held.pop(delivery_id, None)

    async def _stop_in_time(self, arrival: Arrival) -> None:
        """Have no more come by this settlement than are wanted.

        What comes beyond and goes back counts as a delivery, and too many make a dead letter.
        """
        async with self._granting:
            subscription = self._subscription
            if subscription is None or self._count is None:
                return
            if subscription.n_open + arrival.brings_another > self._to_come():
                await self._let_come(subscription)
                await subscription.cancel()
                room = self._credit - subscription.n_reserved
                await subscription.grant(min(room, self._to_come()))

    async def _let_come(self, subscription: Subscription) -> None:
        """Wait a moment for what is on its way: the broker would take it back, and count it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ON_ITS_WAY):
                while subscription.n_open:
                    self._came.clear()
                    await self._came.wait()

    async def _look_whether_drained(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY * random.uniform(0.8, 1.2))
            if self._held or self._buffer:
                continue
            try:
                await self._queue.require_there()
            except RpcError:
                # While the WMS is away nobody can say; what else is wrong, the connection finds.
                continue
            except Exception as error:
                self._failure = error
                self._closing.set()
                return
            if self._queue.is_drained and not self._held:
                self._is_drained = True
                self._closing.set()
                return

    def _lose_all(self) -> None:
        """The channel is gone, and the broker delivers again what was not settled on it."""
        for delivery, _ in self._held.values():
            delivery.is_lost = True
        self._held.clear()
