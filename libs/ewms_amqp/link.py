"""What is done on a connection goes on, on the next one, when that breaks.

The supervisor of every AMQP connection of ours. Guarantees a fresh secret before each connection;
how long to wait between two, and when to give up, is decided by whoever has something to lose.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from aio_pika.abc import AbstractConnection

from ewms_amqp.address import AmqpAddress
from ewms_amqp.connection import FetchSecret, open_connection
from ewms_amqp.errors import AmqpFailure

__all__ = ["Link", "Recovery", "keep_connected", "trusting"]

_Result = TypeVar("_Result")


class Recovery(Protocol):
    """Decides what becomes of a failure."""

    async def wait_after(self, failure: AmqpFailure) -> None:
        """Return when the next attempt is due; raise anything else to give up."""


@dataclass(frozen=True, slots=True)
class Link:
    """The way to one queue: its broker, what one gets in with, and who decides on failures."""

    address: AmqpAddress
    mqid: str
    fetch_secret: FetchSecret
    recovery: Recovery
    name: str
    tls: ssl.SSLContext | None = field(default=None, repr=False)


async def keep_connected(
    link: Link, use: Callable[[AbstractConnection], Awaitable[_Result]]
) -> _Result:
    """Have `use` do its work on a connection, and on another when that breaks, until it returns.

    Raises what is not AmqpFailure of it, and what the recovery raises.
    """
    while True:
        try:
            async with open_connection(
                link.address, link.fetch_secret, link.name, link.tls
            ) as connection:
                return await use(connection)
        except AmqpFailure as failure:
            await link.recovery.wait_after(failure)


def trusting(ca: bytes | None) -> ssl.SSLContext:
    """Trust this CA (PEM), or those that everybody trusts."""
    return ssl.create_default_context(cadata=ca.decode() if ca else None)
