"""The public keys over HTTP or HTTPS, for brokers that fetch them: GET answers the JWK set.

As small as HTTP can be served: one request a connection, bounded in size and time. It must never
serve anything but public keys.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from ewms_mqs.config import MqsSettings
from ewms_mqs.small_ca import server_context

__all__ = ["jwks_tls", "serve_jwks"]

_REQUEST_SECONDS = 5.0
_MAX_REQUEST_BYTES = 8_192


@asynccontextmanager
async def serve_jwks(
    address: str, jwks_json: Callable[[], str], tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """Serve for as long as the block runs; gives HOST:PORT with the real port.

    With `tls` it speaks HTTPS, which RabbitMQ insists on; without, HTTP.

    Raises OSError when the address cannot be had.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                request = await reader.readuntil(b"\r\n\r\n")
                writer.write(_response(request, jwks_json))
                await writer.drain()
        except (
            TimeoutError,
            ConnectionError,
            asyncio.IncompleteReadError,
            asyncio.LimitOverrunError,
        ):
            return
        finally:
            writer.close()

    host, _, port = address.rpartition(":")
    server = await asyncio.start_server(
        answer, host.strip("[]"), int(port), limit=_MAX_REQUEST_BYTES, ssl=tls
    )
    async with server:
        yield f"{host}:{server.sockets[0].getsockname()[1]}"


def jwks_tls(settings: MqsSettings) -> ssl.SSLContext | None:
    """What the settings have the public keys served with; None for HTTP. Raises OSError."""
    if settings.jwks_cert is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(settings.jwks_cert, settings.jwks_key)
        return context
    if settings.jwks_ca is not None:
        return server_context(settings.jwks_ca, settings.jwks.rpartition(":")[0].strip("[]"))
    return None


def _response(request: bytes, jwks_json: Callable[[], str]) -> bytes:
    method = request.partition(b" ")[0]
    if method not in (b"GET", b"HEAD"):
        return b"HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, HEAD\r\n" + _END
    body = jwks_json().encode()
    head = (
        "HTTP/1.1 200 OK\r\nContent-Type: application/jwk-set+json\r\n"
        f"Cache-Control: max-age=60\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    ).encode()
    return head if method == b"HEAD" else head + body


_END = b"Content-Length: 0\r\nConnection: close\r\n\r\n"
