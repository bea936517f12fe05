"""The pilot's way to a queue on RabbitMQ: a fresh token before each connection, from the MQS, and
patience without end. Needs the extra `rabbitmq`.

RabbitMQ does not tell a queue that is gone from one whose node is down, nor a token that has
expired from one that was never good: the MQS is asked, and what it refuses ends the pilot.
"""

from __future__ import annotations

import logging

from ewms_amqp.address import NotAnAmqpAddress, parse_address
from ewms_amqp.connection import Secret
from ewms_amqp.errors import AccessRefused, AmqpFailure, QueueGone
from ewms_amqp.link import Link, trusting
from ewms_pilot.access import QueueAccess
from ewms_pilot.backoff import Backoff
from ewms_pilot.environment import QueueAddress
from ewms_pilot.errors import QueueRefused

__all__ = ["PilotRecovery", "link_to"]

_LOG = logging.getLogger(__name__)
_MAX_REFUSED = 5


class PilotRecovery:
    """Decides what becomes of a failure; for one connection at a time."""

    def __init__(self, access: QueueAccess) -> None:
        self._access = access
        self._backoff = Backoff()
        self._n_refused = 0

    def note_progress(self) -> None:
        """The broker does what it is asked."""
        self._n_refused = 0
        self._backoff.reset()

    async def wait_after(self, failure: AmqpFailure) -> None:
        """Return when it is time to connect again. Raises QueueRefused if it never is."""
        _LOG.warning("queue %s: RabbitMQ: %s", self._access.mqid, failure)
        if isinstance(failure, AccessRefused):
            self._n_refused += 1
            if self._n_refused > _MAX_REFUSED:
                raise QueueRefused(self._access.mqid, str(failure)) from failure
        elif isinstance(failure, QueueGone):
            await self._access.look()
        await self._backoff.wait()


def link_to(
    access: QueueAccess, address: QueueAddress, recovery: PilotRecovery, name: str, ca: bytes | None
) -> Link:
    """The way to the queue. Raises QueueRefused when its address is none."""

    async def secret() -> Secret:
        return Secret(*await access.fresh_token())

    try:
        amqp = parse_address(address.broker_address, is_tls=address.broker_tls)
    except NotAnAmqpAddress as error:
        raise QueueRefused(address.mqid, f"its broker's address {error}") from error
    tls = trusting(ca) if address.broker_tls else None
    return Link(amqp, address.mqid, secret, recovery, name, tls)
