"""Load on a server, the same for ours and for the limit: bytes in, bytes out, nothing decoded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc

__all__ = ["DEADLINE", "Call", "call_of", "calls_of", "clients", "each_of"]

Call = Any
"""A method on a channel, from bytes to bytes."""

DEADLINE = 120.0
_SEPARATE = (
    # Without it channels to one address share one connection.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", 16 << 20),
    ("grpc.max_send_message_length", 16 << 20),
)


@asynccontextmanager
async def clients(address: str, number: int) -> AsyncIterator[Sequence[grpc.aio.Channel]]:
    """Open so many channels, each with a connection of its own."""
    async with AsyncExitStack() as stack:
        channels = [grpc.aio.insecure_channel(address, options=_SEPARATE) for _ in range(number)]
        for channel in channels:
            await stack.enter_async_context(channel)
        yield channels


def call_of(channel: grpc.aio.Channel, method: str) -> Call:
    """The method on the channel."""
    call: Call = channel.unary_unary(method)
    return call


def calls_of(channels: Iterable[grpc.aio.Channel], method: str) -> list[Call]:
    """The method on each of the channels."""
    return [call_of(channel, method) for channel in channels]


async def each_of(calls: Sequence[Call], requests: Iterable[bytes]) -> float:
    """Send every request, each caller one after the other; return the seconds that it takes."""
    waiting = iter(requests)

    async def send(call: Call) -> None:
        for request in waiting:
            await call(request, timeout=DEADLINE)

    begin = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for call in calls:
            group.create_task(send(call))
    return time.perf_counter() - begin
