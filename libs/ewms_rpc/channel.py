"""The channel that our clients and peers use.

Guarantees that a dead server is noticed within half a minute, that a server which comes back is
found within five seconds, and that unary calls which may be repeated are, when the server is
away. A deadline is the caller's: `timeout=DEADLINE` on each call, since a channel has none.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import grpc
from google.protobuf.descriptor import ServiceDescriptor

from ewms_rpc.addresses import is_loopback
from ewms_rpc.stacks import user_agent_of
from ewms_rpc.tls import ClientTls

__all__ = ["DEADLINE", "open_channel"]

# Seconds; for a call that should answer at once.
DEADLINE = 10.0

_MAX_MESSAGE_BYTES = 16 * 1024 * 1024
_LONGEST_RECONNECT_SECONDS = 5.0
_RETRY_POLICY = {
    "maxAttempts": 5,
    "initialBackoff": "0.1s",
    "maxBackoff": "2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}


def open_channel(
    address: str,
    *,
    insecure: bool = False,
    tls: ClientTls | None = None,
    retried: Sequence[ServiceDescriptor] = (),
    max_message_bytes: int = _MAX_MESSAGE_BYTES,
    longest_reconnect: float = _LONGEST_RECONNECT_SECONDS,
    stack: str = "",
) -> grpc.aio.Channel:
    """A channel; close it, or use it in `async with`. It connects with the first call.

    Parameters
    ----------
    address
        `host:port`, or `unix:path`.
    insecure
        Plain text beyond this machine is wanted. Without `tls` loopback is always plain text, and
        every other address TLS with the CAs that gRPC brings.
    tls
        TLS whatever the address, and how.
    retried
        Services whose unary calls are tried up to five times while the server is UNAVAILABLE.
        They must be idempotent; ours are.
    max_message_bytes
        Greatest message, in and out.
    longest_reconnect
        Seconds: the longest wait between two attempts to reach a server that is away. Shorter
        only where the callers are few.
    stack
        The stack that the caller belongs to, if any: servers of others are not there for it.
    """
    options = _options(retried, max_message_bytes, longest_reconnect)
    if stack:
        options.append(("grpc.primary_user_agent", user_agent_of(stack)))
    if tls is None and (insecure or is_loopback(address)):
        return grpc.aio.insecure_channel(address, options=options)
    credentials = (tls or ClientTls()).credentials()
    return grpc.aio.secure_channel(address, credentials, options=options)


def _options(
    retried: Sequence[ServiceDescriptor], max_message_bytes: int, longest_reconnect: float
) -> list[tuple[str, int | str]]:
    options: list[tuple[str, int | str]] = [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # A quiet stream is pinged for as long as it is quiet, not twice.
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        # Despite its name the time that an attempt to connect has.
        ("grpc.min_reconnect_backoff_ms", 3_000),
        ("grpc.max_reconnect_backoff_ms", round(longest_reconnect * 1000)),
        # Each channel its own connection: a shared one would mix their settings.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    names = [
        {"service": service.full_name, "method": method.name}
        for service in retried
        for method in service.methods
        if not (method.client_streaming or method.server_streaming)
    ]
    if names:
        config = {"methodConfig": [{"name": names, "retryPolicy": _RETRY_POLICY}]}
        options.append(("grpc.service_config", json.dumps(config)))
    return options
