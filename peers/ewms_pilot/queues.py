"""The queues of a pilot, wherever their events are: over gRPC, or over AMQP with RabbitMQ.

What only RabbitMQ needs is imported only then: it comes with an extra of its own.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from ewms_pilot.access import Channels, QueueAccess
from ewms_pilot.deliveries import Feed, Held, Sink
from ewms_pilot.environment import PilotConfig, QueueAddress
from ewms_pilot.errors import QueueRefused
from ewms_pilot.incoming import Incoming
from ewms_pilot.outgoing import Outgoing

__all__ = ["Queues"]


class Queues:
    """Makes them, as the settings say; `channels` are closed by the caller."""

    def __init__(self, config: PilotConfig, channels: Channels) -> None:
        self._config = config
        self._channels = channels
        self._ca = config.mqs_ca.encode() if config.mqs_ca else None
        self._name = f"pilot {os.uname().nodename} {os.getpid()}"[:128]

    def feed(
        self,
        address: QueueAddress,
        ready: asyncio.Queue[tuple[Feed, Held]],
        on_change: Callable[[], None],
    ) -> Feed:
        """An incoming queue. Raises QueueRefused without the extra that it needs."""
        access, credit = self._access(address), self._config.max_concurrent_tasks
        if address.broker_type != "rabbitmq":
            return Incoming(access, credit, self._name, ready, on_change)
        with _amqp_installed(address):
            from ewms_pilot.amqp_incoming import AmqpIncoming
        return AmqpIncoming(access, address, credit, self._name, ready, on_change, self._ca)

    def sink(self, address: QueueAddress) -> Sink:
        """An outgoing queue. Raises QueueRefused without the extra that it needs."""
        access = self._access(address)
        if address.broker_type != "rabbitmq":
            return Outgoing(access)
        with _amqp_installed(address):
            from ewms_pilot.amqp_outgoing import AmqpOutgoing
        return AmqpOutgoing(access, address, self._name, self._ca)

    def _access(self, address: QueueAddress) -> QueueAccess:
        at = address
        if address.broker_type == "rabbitmq":
            # Tokens come from the MQS, wherever the events are.
            at = replace(
                address,
                broker_address=self._config.mqs_address,
                broker_tls=self._config.mqs_tls,
            )
        return QueueAccess(address, self._channels.to(at), self._config.credential)


@contextmanager
def _amqp_installed(address: QueueAddress) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        words = f"it is on RabbitMQ, and this pilot lacks {error.name}: ewms-grpc[rabbitmq]"
        raise QueueRefused(address.mqid, words) from error
