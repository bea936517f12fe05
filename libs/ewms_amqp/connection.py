"""One connection to RabbitMQ with a token that is renewed on it while it is open.

Guarantees a fresh token before each connection, and its renewal at half its life on the open one,
so that work may last longer than any token. While nobody gives a new token the old one serves as
long as it holds; what the broker then refuses is the reason to connect anew. Never logs a token.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aio_pika
from aio_pika.abc import AbstractConnection

from ewms_amqp.address import AmqpAddress
from ewms_amqp.errors import AmqpFailure, amqp_errors

__all__ = ["FetchSecret", "Secret", "open_connection"]

_LOG = logging.getLogger(__name__)
# The driver logs a trace for each connection that is lost, which our callers tell in words. Where
# nobody has configured logging, as in a user's terminal, Python would print it.
logging.getLogger("aiormq").addHandler(logging.NullHandler())

_CONNECT_TIMEOUT = 20.0
_RENEW_TIMEOUT = 10.0
_HEARTBEAT_SECONDS = 20
_CLOSE_TIMEOUT = 5.0
_LEAST_WAIT = 0.2


@dataclass(frozen=True, slots=True)
class Secret:
    """A token, or a password. `renew_in`: seconds until it is half spent; None: it never is."""

    text: str = field(repr=False)
    renew_in: float | None = None


FetchSecret = Callable[[], Awaitable[Secret]]
"""Gives a secret that is good now. It may wait, and raises what only its caller understands."""


@asynccontextmanager
async def open_connection(
    address: AmqpAddress,
    fetch_secret: FetchSecret,
    name: str,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[AbstractConnection]:
    """A connection for as long as the block runs; its end is a closing in order.

    Raises ConnectionBroken, AccessRefused, and what `fetch_secret` does for the first secret.
    """
    secret = await fetch_secret()
    with amqp_errors():
        connection = await aio_pika.connect(
            host=address.host,
            port=address.port,
            login=address.user or "ewms",
            password=secret.text,
            virtualhost=address.vhost,
            ssl=address.is_tls,
            ssl_context=tls if address.is_tls else None,
            timeout=_CONNECT_TIMEOUT,
            client_properties={"connection_name": name},
            heartbeat=_HEARTBEAT_SECONDS,
        )
    renewing = asyncio.create_task(_renew(connection, fetch_secret, secret))
    try:
        yield connection
    finally:
        renewing.cancel()
        await asyncio.wait([renewing])
        await _close(connection)


async def _close(connection: AbstractConnection) -> None:
    with contextlib.suppress(AmqpFailure), amqp_errors():
        async with asyncio.timeout(_CLOSE_TIMEOUT):
            await connection.close()


async def _renew(connection: AbstractConnection, fetch_secret: FetchSecret, secret: Secret) -> None:
    """Tell the broker each new secret in time; what fails is tried again soon."""
    pause = secret.renew_in
    while pause is not None:
        await asyncio.sleep(max(pause, _LEAST_WAIT))
        try:
            secret = await fetch_secret()
            with amqp_errors():
                # Without an answer the broker does not read: an alarm blocks it, and will end.
                await connection.update_secret(
                    secret.text, reason="renewal", timeout=_RENEW_TIMEOUT
                )
            pause = secret.renew_in
        except asyncio.CancelledError:
            raise
        except Exception as error:
            # Whoever uses the connection learns from the broker when the old one has expired.
            _LOG.warning("a token was not renewed on its connection: %s", error)
            pause = 1.0 + random.random()
