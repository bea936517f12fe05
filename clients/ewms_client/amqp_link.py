"""The way to a queue on RabbitMQ with the client's own patience, and tokens from the WMS.

A token is looked up anew when the broker refuses one, and so is the queue itself when the broker
does not have it: it may be released, or its node may be down. Needs the extra `rabbitmq`.
"""

from __future__ import annotations

from ewms_amqp.address import parse_address
from ewms_amqp.connection import Secret
from ewms_amqp.errors import AccessRefused, AmqpFailure, QueueGone
from ewms_amqp.link import Link, trusting
from ewms_client.errors import RpcError, Unavailable
from ewms_client.queue_access import QueueAccess
from ewms_client.reconnection import Reconnection, ask_patiently

__all__ = ["ClientRecovery", "link_to"]


class ClientRecovery:
    """Tries again for as long as the patience lasts, and after that raises UNAVAILABLE."""

    def __init__(self, queue: QueueAccess, what: str, patience: float) -> None:
        self._queue = queue
        self._what, self._patience = f"{what} {queue.alias}", patience
        self._reconnection = Reconnection(self._what, patience)

    def note_progress(self) -> None:
        """Something went well: patience begins anew."""
        self._reconnection.note_progress()

    async def wait_after(self, failure: AmqpFailure) -> None:
        """Wait; look token and queue up again where that may help. Raises QueueGone, RpcError."""
        await self._reconnection.wait_after(Unavailable(f"RabbitMQ: {failure}"))
        if isinstance(failure, AccessRefused):
            self._queue.reject_token()
        elif isinstance(failure, QueueGone):
            await ask_patiently(self._queue.require_there, self._what, self._patience)

    async def secret(self) -> Secret:
        """A token that is good now, however long the WMS is away within the patience."""
        while True:
            try:
                text, renew_in = await self._queue.token()
                return Secret(text, renew_in)
            except RpcError as error:
                await self._reconnection.wait_after(error)


def link_to(queue: QueueAccess, recovery: ClientRecovery, name: str) -> Link:
    """The way to the queue."""
    return Link(
        parse_address(queue.broker_address, is_tls=queue.broker_tls),
        queue.mqid,
        recovery.secret,
        recovery,
        name,
        trusting(queue.trusted_ca) if queue.broker_tls else None,
    )
