"""Events out: published to a queue through the default exchange, confirmed, or returned.

A batch is written in order before its first confirmation is waited for. An event that no queue
took comes back and is an error, since the broker confirms it all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aio_pika
from aio_pika.abc import AbstractConnection

from ewms_amqp.errors import AmqpFailure, amqp_errors

__all__ = ["Outbound", "PublishingChannel", "publishing_channel"]


@dataclass(frozen=True, slots=True)
class Outbound:
    """An event that is ready to go: its encoded body and its id."""

    body: bytes
    event_id: str


class PublishingChannel:
    """A channel with confirms."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    async def publish(self, mqid: str, events: Sequence[Outbound]) -> int:
        """Publish in order; return how many from the first on are confirmed: all, or fewer.

        Fewer is followed by an error on the next call. Raises AmqpFailure when not even the first
        is confirmed; what was sent and not confirmed may have arrived.
        """
        exchange = self._channel.default_exchange
        now = datetime.now(UTC)
        sending = [
            asyncio.create_task(
                exchange.publish(
                    aio_pika.Message(
                        event.body,
                        message_id=event.event_id,
                        timestamp=now,
                        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                    ),
                    routing_key=mqid,
                    mandatory=True,
                )
            )
            for event in events
        ]
        try:
            outcomes = await asyncio.gather(*sending, return_exceptions=True)
        except asyncio.CancelledError:
            for task in sending:
                task.cancel()
            raise
        for index, outcome in enumerate(outcomes):
            if isinstance(outcome, BaseException):
                if index:
                    return index
                with amqp_errors():
                    raise outcome
        return len(outcomes)


@asynccontextmanager
async def publishing_channel(connection: AbstractConnection) -> AsyncIterator[PublishingChannel]:
    """A channel for publishing on a connection that nothing is consumed on.

    An alarm of the broker blocks a connection that publishes, and with it what it consumes.
    """
    with amqp_errors():
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
    try:
        yield PublishingChannel(channel)
    finally:
        try:
            with amqp_errors():
                async with asyncio.timeout(1.0):
                    await channel.close()
        except AmqpFailure:
            pass
