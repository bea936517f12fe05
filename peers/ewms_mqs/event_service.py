"""EventService: events in and out of queues, over gRPC.

Thin: who may is decided by `access`, what happens by `publishing` and `consuming`. A stream keeps
a bounded number of messages under way and reads no further until they are durable.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from ewms.mqs.v1 import event_service_pb2 as pb
from ewms_mqs.access import Access
from ewms_mqs.config import MqsSettings
from ewms_mqs.confirming import Confirmations
from ewms_mqs.consuming import Consuming
from ewms_mqs.conversation import converse, reading, require_same_queue
from ewms_mqs.messages import Profiles, settlement_of
from ewms_mqs.model import Mqid
from ewms_mqs.publishing import Publishing
from ewms_mqs.register import Register
from ewms_mqs.tokens import Tokens
from ewms_rpc.context import CallContext
from ewms_rpc.errors import FieldViolation, InvalidArgument

__all__ = ["EventServicer"]


class EventServicer:
    """Serves `ewms.mqs.v1.EventService`."""

    def __init__(
        self,
        access: Access,
        register: Register,
        publishing: Publishing,
        consuming: Consuming,
        tokens: Tokens,
        profiles: Profiles,
        settings: MqsSettings,
    ) -> None:
        self._access = access
        self._register = register
        self._publishing = publishing
        self._consuming = consuming
        self._tokens = tokens
        self._profiles = profiles
        self._lease = settings.lease

    async def PublishBatch(
        self, request: pb.PublishBatchRequest, context: CallContext
    ) -> pb.PublishBatchResponse:
        """Publish a batch."""
        queue = await self._access.queue(context.metadata, Mqid(request.mqid))
        n_published = await self._publishing.submit(queue, request.events)
        return pb.PublishBatchResponse(n_published=n_published)

    async def Publish(
        self, requests: AsyncIterator[pb.PublishRequest], context: CallContext
    ) -> AsyncIterator[pb.PublishResponse]:
        """Publish batches and confirm them in order."""
        first = await anext(requests, None)
        if first is None:
            return
        mqid = _named_queue(first.mqid)
        queue = await self._access.queue(context.metadata, mqid)
        confirmations = Confirmations()

        async def read() -> None:
            request: pb.PublishRequest | None = first
            while request is not None:
                require_same_queue(request.mqid, mqid)
                size = request.ByteSize()
                await confirmations.room_for(size)
                confirmations.add(self._publishing.submit(queue, request.events), size)
                request = await anext(requests, None)

        async with reading(read()) as reader:
            async for n_confirmed in confirmations.of(reader):
                yield pb.PublishResponse(n_confirmed=n_confirmed)

    async def Consume(
        self, requests: AsyncIterator[pb.ConsumeRequest], context: CallContext
    ) -> AsyncIterator[pb.ConsumeResponse]:
        """Deliver events against credit, and settle them."""
        first = await anext(requests, None)
        if first is None:
            return
        mqid = _named_queue(first.mqid)
        queue = await self._access.queue(context.metadata, mqid)
        opening = pb.ConsumeResponse()
        opening.lease.FromTimedelta(self._lease)
        yield opening
        with (
            self._consuming.counter(queue) as counter,
            self._consuming.consumer(counter, first.consumer or context.peer) as consumer,
        ):
            # Only now: whoever drains the queue from here on tells this consumer.
            if (await self._register.state(mqid)).is_drained:
                consumer.end()
            async for response in converse(first, requests, counter, consumer):
                yield response

    async def SettleDeliveries(
        self, request: pb.SettleDeliveriesRequest, context: CallContext
    ) -> pb.SettleDeliveriesResponse:
        """Settle deliveries of another stream."""
        queue = await self._access.queue(context.metadata, Mqid(request.mqid))
        with self._consuming.counter(queue) as counter:
            outcome = await counter.settle(settlement_of(request, is_elsewhere=True))
        return pb.SettleDeliveriesResponse(settled=outcome.settled, lost=outcome.lost)

    async def RenewToken(
        self, request: pb.RenewTokenRequest, context: CallContext
    ) -> pb.RenewTokenResponse:
        """A fresh token, against the old one or a pilot's credential."""
        queue = await self._access.queue_to_renew(context.metadata, Mqid(request.mqid))
        state = await self._register.state(queue.mqid)
        (token,) = await self._tokens.mint([queue])
        return pb.RenewTokenResponse(profile=self._profiles.message(state, token))


def _named_queue(mqid: str) -> Mqid:
    if not mqid:
        words = "must be set in the first message of the stream"
        raise InvalidArgument([FieldViolation("mqid", words)])
    return Mqid(mqid)
