"""Publishes events on a stream that is opened again when it breaks. Every event is confirmed before
`publish` returns; what was unconfirmed on a broken stream is sent again with the same ids, so that
the broker keeps each once. At most 8 MiB are held, whatever the number of events.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc
from grpc import aio

from ewms.mqs.v1 import event_service_pb2
from ewms_client.channel import received
from ewms_client.errors import NotFound, RpcError, Unauthenticated, Unavailable
from ewms_client.events import Events, Outbox, each
from ewms_client.queue_access import QueueAccess, amqp_installed
from ewms_client.reconnection import Reconnection, ask_patiently

__all__ = ["publish_events"]

Confirmed = Callable[[int], None]
_Stream = aio.StreamStreamCall[event_service_pb2.PublishRequest, event_service_pb2.PublishResponse]


async def publish_events(
    queue: QueueAccess, events: Events, *, patience: float, on_confirmed: Confirmed | None = None
) -> int:
    """Publish all of them and return how many, once the last is confirmed.

    `on_confirmed` is called with the number so far, as it grows. After an error, what was confirmed
    is durable, and of the rest some events may be.
    """
    outbox = Outbox(queue.mqid)
    deliver = _deliver_over_amqp if queue.is_on_rabbitmq else _deliver
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(deliver(queue, outbox, patience, on_confirmed or (lambda _: None)))
            async for event in each(events):
                await outbox.put(event)
            await outbox.close()
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return outbox.n_confirmed


async def _deliver_over_amqp(
    queue: QueueAccess, outbox: Outbox, patience: float, on_confirmed: Confirmed
) -> None:
    # AMQP is an extra.
    with amqp_installed(queue):
        from ewms_client.amqp_publishing import deliver
    await deliver(queue, outbox, patience, on_confirmed)


async def _deliver(
    queue: QueueAccess, outbox: Outbox, patience: float, on_confirmed: Confirmed
) -> None:
    reconnection = Reconnection(f"publishing to {queue.alias}", patience)
    has_fresh_token = False

    def note_progress() -> None:
        nonlocal has_fresh_token
        has_fresh_token = False
        reconnection.note_progress()
        on_confirmed(outbox.n_confirmed)

    while not outbox.is_done:
        try:
            await _send_on_one_stream(queue, outbox, note_progress)
            if not outbox.is_done:
                await reconnection.wait_after(Unavailable("the broker ended the stream early"))
        except Unauthenticated:
            if has_fresh_token:
                raise
            queue.reject_token()
            has_fresh_token = True
        except NotFound:
            # A token holds for longer than its queue may be there.
            await ask_patiently(queue.require_there, f"looking for {queue.alias}", patience)
            raise
        except RpcError as error:
            await reconnection.wait_after(error)


async def _send_on_one_stream(
    queue: QueueAccess, outbox: Outbox, note_progress: Callable[[], None]
) -> None:
    metadata = await queue.metadata()
    outbox.rewind()
    stream: _Stream = queue.stub.Publish(timeout=queue.stream_lifetime, metadata=metadata)
    writing = asyncio.create_task(_write_batches(stream, outbox))
    n_confirmed = 0
    try:
        async for response in received(stream):
            await outbox.confirm(response.n_confirmed - n_confirmed)
            n_confirmed = response.n_confirmed
            note_progress()
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)


async def _write_batches(stream: _Stream, outbox: Outbox) -> None:
    try:
        while (batch := await outbox.next_batch()) is not None:
            await stream.write(batch)
        await stream.done_writing()
    except (grpc.RpcError, asyncio.InvalidStateError):
        # The stream is over; its reader learns why.
        return
