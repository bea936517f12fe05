"""Consuming one queue from RabbitMQ, as `incoming` does over gRPC. Needs the extra `rabbitmq`.

A delivery belongs to its connection. When that breaks, the broker gives the event to somebody else,
so the task that works on it is stopped; nothing that was not acknowledged is lost. RabbitMQ tells
nobody that a queue is drained: while nothing is held, the MQS is asked now and then. It must never
acknowledge anything by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable

from aio_pika.abc import AbstractConnection

from ewms.mqs.v1 import event_service_pb2 as pb
from ewms_amqp.consuming import Arrival, Subscription, subscribed
from ewms_amqp.errors import AmqpFailure
from ewms_amqp.link import keep_connected
from ewms_pilot.access import QueueAccess
from ewms_pilot.amqp_recovery import PilotRecovery, link_to
from ewms_pilot.deliveries import Feed, Held
from ewms_pilot.environment import Mqid, QueueAddress

__all__ = ["AmqpIncoming"]

# A token is minted for each look, so that a pool of idle workers must not look often.
_LOOK_EVERY = 10.0


class AmqpIncoming:
    """As `Incoming`; `ca` is the CA of brokers that speak TLS."""

    def __init__(
        self,
        access: QueueAccess,
        address: QueueAddress,
        credit: int,
        consumer: str,
        ready: asyncio.Queue[tuple[Feed, Held]],
        on_change: Callable[[], None],
        ca: bytes | None,
    ) -> None:
        self._access = access
        self._recovery = PilotRecovery(access)
        self._link = link_to(access, address, self._recovery, consumer, ca)
        self._credit = credit
        self._ready = ready
        self._on_change = on_change
        self._held: dict[str, tuple[Held, Arrival]] = {}
        self._settling: set[asyncio.Future[None]] = set()
        self._subscription: Subscription | None = None
        self._stopping = asyncio.Event()
        self._settled = asyncio.Event()

    @property
    def mqid(self) -> Mqid:
        """The queue's id."""
        return self._access.mqid

    @property
    def is_idle(self) -> bool:
        """Connected, with nothing held; or drained."""
        return not self._held and (self._subscription is not None or self._access.is_drained)

    def grant(self, credit: int) -> None:
        """Let so many deliveries more be held, from now on."""
        self._credit += credit
        if self._subscription is not None:
            self._say(self._subscription.grant(credit))

    def acknowledge(self, held: Held) -> None:
        """The event is done."""
        self._settle(held, lambda arrival: arrival.ack())

    def refuse(self, held: Held, reason: str, *, requeue: bool) -> None:
        """The event could not be processed; RabbitMQ keeps no reasons."""
        self._settle(held, lambda arrival: arrival.reject(requeue=requeue))

    async def stop(self) -> None:
        """Take nothing more; what is not being worked on goes back to the queue."""
        self._stopping.set()
        if (subscription := self._subscription) is not None:
            self._say(subscription.cancel())
        for held, _ in list(self._held.values()):
            if held.work is None and not held.is_decided:
                held.is_lost = True
                self.refuse(held, "stopped", requeue=True)

    async def run(self) -> None:
        """Consume until the queue is drained or `stop` was called, and all is settled.

        Raises QueueRefused. Cancelled, it closes its connection: what is held goes back.
        """
        looking = asyncio.create_task(self._look_whether_drained())
        consuming = asyncio.create_task(keep_connected(self._link, self._consume))
        try:
            await asyncio.wait([looking, consuming], return_when=asyncio.FIRST_COMPLETED)
            if looking.done():
                # It ends with the drained queue, or with what the MQS refuses.
                looking.result()
                await self.stop()
            await consuming
        finally:
            for task in (looking, consuming):
                task.cancel()
            await asyncio.gather(looking, consuming, return_exceptions=True)

    async def _consume(self, connection: AbstractConnection) -> None:
        """Consume on one connection, until stopped and settled. Raises AmqpFailure."""
        if self._stopping.is_set():
            return
        try:
            async with subscribed(connection, self.mqid, self._take) as subscription:
                await subscription.grant(self._credit)
                self._subscription = subscription
                self._recovery.note_progress()
                self._on_change()
                await self._until_settled(subscription)
        finally:
            self._subscription = None
            self._lose_all()
            self._on_change()

    async def _until_settled(self, subscription: Subscription) -> None:
        broken = asyncio.create_task(subscription.ended())
        settled = asyncio.create_task(self._stopped_and_settled())
        try:
            await asyncio.wait([broken, settled], return_when=asyncio.FIRST_COMPLETED)
            if broken.done():
                broken.result()
        finally:
            for task in (broken, settled):
                task.cancel()
            await asyncio.gather(broken, settled, return_exceptions=True)

    async def _stopped_and_settled(self) -> None:
        await self._stopping.wait()
        while self._held or self._settling:
            self._settled.clear()
            await self._settled.wait()

    def _take(self, arrival: Arrival) -> None:
        body = arrival.body
        event = pb.Event(event_id=arrival.event_id, payload=body.payload, headers=body.headers)
        held = Held(
            pb.Delivery(
                delivery_id=arrival.delivery_id, event=event, n_deliveries=arrival.n_deliveries
            )
        )
        self._recovery.note_progress()
        self._held[held.id] = held, arrival
        if self._stopping.is_set():
            held.is_lost = True
            self.refuse(held, "stopped", requeue=True)
            return
        self._ready.put_nowait((self, held))
        self._on_change()

    def _settle(self, held: Held, how: Callable[[Arrival], Awaitable[None]]) -> None:
        _, arrival = self._held.pop(held.id, (None, None))
        held.is_decided = True
        if arrival is not None:
            self._say(how(arrival))

    def _say(self, saying: Awaitable[None]) -> None:
        async def say() -> None:
            # What breaks the connection is noticed there, and the event comes again.
            with contextlib.suppress(AmqpFailure):
                await saying

        def said(task: asyncio.Future[None]) -> None:
            self._settling.discard(task)
            self._settled.set()
            self._on_change()

        task = asyncio.ensure_future(say())
        self._settling.add(task)
        task.add_done_callback(said)

    def _lose_all(self) -> None:
        """The connection is gone, and with it what was held on it."""
        for held, _ in self._held.values():
            held.is_lost = True
            if held.work is not None:
                held.work.cancel()
        self._held.clear()
        self._settled.set()

    async def _look_whether_drained(self) -> None:
        """Return when the queue is drained. Raises QueueRefused."""
        while not self._access.is_drained or self._held:
            await asyncio.sleep(_LOOK_EVERY * random.uniform(0.8, 1.2))
            if not self._held:
                await self._access.look()
