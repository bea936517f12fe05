"""The two directions of a consuming stream: what the consumer says, and what goes to it.

Guarantees that a consumer hears of every settlement it makes before its stream ends with OK, and
that one who half-closes gives back at once what it holds. A stream that breaks keeps its leases.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

from ewms.mqs.v1 import event_service_pb2 as pb
from ewms_mqs.consumer import Consumer
from ewms_mqs.consuming import Counter
from ewms_mqs.messages import parcel_message, settlement_of
from ewms_mqs.model import Settled, Settlement
from ewms_rpc.errors import FieldViolation, InvalidArgument

__all__ = ["converse", "reading", "require_same_queue"]

_SETTLEMENTS_UNDER_WAY = 64


@asynccontextmanager
async def reading(read: Coroutine[object, object, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Read requests in a task of its own for as long as the block runs."""
    reader = asyncio.create_task(read)
    try:
        yield reader
    finally:
        reader.cancel()
        await asyncio.wait([reader])


def require_same_queue(mqid: str, named: str) -> None:
    """Raise InvalidArgument when a later message names another queue than the first."""
    if mqid not in ("", named):
        words = "must be the queue of the stream's first message, or empty"
        raise InvalidArgument([FieldViolation("mqid", words)])


async def converse(
    first: pb.ConsumeRequest,
    requests: AsyncIterator[pb.ConsumeRequest],
    counter: Counter,
    consumer: Consumer,
) -> AsyncIterator[pb.ConsumeResponse]:
    """Serve a consumer that has joined the counter, from its first message to the end."""
    async with reading(_listen(first, requests, counter, consumer)):
        while (parcel := await consumer.next_parcel()) is not None:
            yield parcel_message(parcel)
            consumer.sent(parcel)
            if parcel.made_room:
                counter.wake()


async def _listen(
    first: pb.ConsumeRequest,
    requests: AsyncIterator[pb.ConsumeRequest],
    counter: Counter,
    consumer: Consumer,
) -> None:
    """Do what the consumer says until it has nothing more to say, then end its stream."""
    under_way: set[asyncio.Task[None]] = set()
    error: Exception | None = None
    try:
        request: pb.ConsumeRequest | None = first
        while request is not None:
            require_same_queue(request.mqid, counter.queue.mqid)
            if request.credit:
                counter.add_credit(consumer, request.credit)
            settlement = settlement_of(request, is_elsewhere=False)
            if len(settlement):
                await consumer.room_to_tell()
                while len(under_way) >= _SETTLEMENTS_UNDER_WAY:
                    await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                task = asyncio.create_task(_settle(counter, consumer, settlement))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            request = await anext(requests, None)
        if under_way:
            await asyncio.wait(under_way)
        await consumer.leave_in_order()
        await counter.give_back(consumer)
    except Exception as failure:
        error = failure
    finally:
        for task in under_way:
            task.cancel()
    consumer.end(error)


async def _settle(counter: Counter, consumer: Consumer, settlement: Settlement) -> None:
    try:
        outcome: Settled = await counter.settle(settlement)
    except Exception as failure:
        consumer.end(failure)
    else:
        consumer.tell(outcome)
