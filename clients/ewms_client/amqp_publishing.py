"""Publishes to RabbitMQ over as many connections as it takes. Every event is confirmed; what was
not confirmed on a broken connection is published again, and may then be there twice: RabbitMQ
drops no repeats, but a reader can, by the event's id. Needs the extra `rabbitmq`.
"""

from __future__ import annotations

from collections.abc import Callable

from aio_pika.abc import AbstractConnection

from ewms_amqp.body import MAX_PAYLOAD, Body, encode_body
from ewms_amqp.link import keep_connected
from ewms_amqp.publishing import Outbound, publishing_channel
from ewms_client.amqp_link import ClientRecovery, link_to
from ewms_client.errors import FailedPrecondition, InvalidArgument
from ewms_client.events import Outbox
from ewms_client.queue_access import QueueAccess
from ewms_rpc.details import FieldViolation, PreconditionViolation

__all__ = ["deliver"]


async def deliver(
    queue: QueueAccess, outbox: Outbox, patience: float, on_confirmed: Callable[[int], None]
) -> None:
    """Publish what comes into the outbox until it is closed. Raises RpcError."""
    if queue.is_closed:
        # RabbitMQ would take them: keeping the promise is up to who publishes.
        words = f"queue {queue.alias} is closed"
        raise FailedPrecondition([PreconditionViolation("QUEUE_CLOSED", queue.alias, words)])
    recovery = ClientRecovery(queue, "publishing to", patience)
    pending: list[Outbound] = []

    async def publish(connection: AbstractConnection) -> None:
        async with publishing_channel(connection) as channel:
            while pending or await _next(outbox, pending):
                n_confirmed = await channel.publish(queue.mqid, pending)
                del pending[:n_confirmed]
                recovery.note_progress()
                if not pending:
                    await outbox.confirm(1)
                    on_confirmed(outbox.n_confirmed)

    await keep_connected(link_to(queue, recovery, f"ewms_client {queue.alias}"), publish)


async def _next(outbox: Outbox, pending: list[Outbound]) -> bool:
    """Take the next batch; False when there is no more."""
    batch = await outbox.next_batch()
    if batch is None:
        return False
    for index, event in enumerate(batch.events):
        if len(event.payload) > MAX_PAYLOAD:
            words = f"an event has {len(event.payload)} bytes; at most {MAX_PAYLOAD} are possible"
            raise InvalidArgument([FieldViolation(f"events[{index}].payload", words)])
        pending.append(
            Outbound(encode_body(Body(event.payload, dict(event.headers))), event.event_id)
        )
    return True
