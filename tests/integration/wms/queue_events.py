"""Events of a workflow's queues, as a pilot or a user sends and reads them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import grpc

from ewms.mqs.v1 import event_service_pb2 as ev
from ewms.mqs.v1.event_service_pb2_grpc import EventServiceStub
from ewms.wms.v1.tms_service_pb2 import AssignedQueue
from ewms_rpc.channel import open_channel

if TYPE_CHECKING:
    from ewms.mqs.v1.event_service_pb2_grpc import EventServiceAsyncStub


class Events:
    """A client of the EventService."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: EventServiceAsyncStub = EventServiceStub(channel)

    async def publish(self, queue: AssignedQueue, *payloads: bytes, **headers: str) -> None:
        """Publish events; they are confirmed when this returns."""
        events = [ev.Event(payload=payload, headers=headers) for payload in payloads]
        request = ev.PublishBatchRequest(mqid=queue.mqid, events=events)
        await self._stub.PublishBatch(request, metadata=_bearer(queue))

    async def read(self, queue: AssignedQueue, number: int) -> set[bytes]:
        """Consume and acknowledge so many events; return their payloads."""
        return await self._read(queue, number, None)

    async def _read(
        self, queue: AssignedQueue, number: int, target: AssignedQueue | None
    ) -> set[bytes]:
        call = self._stub.Consume(metadata=_bearer(queue))
        await call.write(ev.ConsumeRequest(mqid=queue.mqid, credit=number))
        payloads: set[bytes] = set()
        settled: set[str] = set()
        while len(settled) < number:
            response = await call.read()
            assert isinstance(response, ev.ConsumeResponse), "the stream ended"
            payloads |= {delivery.event.payload for delivery in response.deliveries}
            settled |= set(response.settled)
            if response.deliveries:
                if target:
                    # A queue closes once what is read for it is acknowledged.
                    await self.publish(target, *(d.event.payload for d in response.deliveries))
                ids = [delivery.delivery_id for delivery in response.deliveries]
                await call.write(ev.ConsumeRequest(ack=ids))
        call.cancel()
        return payloads

    async def spoil(self, queue: AssignedQueue, *payloads: bytes, **headers: str) -> None:
        """Make dead letters of events of a queue that is empty."""
        await self.publish(queue, *payloads, **headers)
        call = self._stub.Consume(metadata=_bearer(queue))
        await call.write(ev.ConsumeRequest(mqid=queue.mqid, credit=len(payloads)))
        settled: set[str] = set()
        while len(settled) < len(payloads):
            response = await call.read()
            assert isinstance(response, ev.ConsumeResponse), "the stream ended"
            settled |= set(response.settled)
            if response.deliveries:
                nacks = [
                    ev.Nack(delivery_id=delivery.delivery_id, reason="cannot be read")
                    for delivery in response.deliveries
                ]
                await call.write(ev.ConsumeRequest(nack=nacks))
        call.cancel()

    async def work(self, source: AssignedQueue, target: AssignedQueue, number: int) -> None:
        """Copy so many events as a pilot does: published first, and then acknowledged."""
        await self._read(source, number, target)


def _bearer(queue: AssignedQueue) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {queue.auth_token}"),)


@asynccontextmanager
async def events_at(address: str) -> AsyncIterator[Events]:
    """Connect to the MQS at this address."""
    async with open_channel(address) as channel:
        yield Events(channel)
