"""A service that does what the test tells it, and a client of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from compiled_protos import compile_proto
from google.protobuf.message_factory import GetMessageClass

from ewms_rpc.errors import RpcError, from_rpc_error
from ewms_rpc.serving import RpcServer

FILE = compile_proto(Path(__file__).with_name("probe.proto"))
Question: Any = GetMessageClass(FILE.message_types_by_name["Question"])
Answer: Any = GetMessageClass(FILE.message_types_by_name["Answer"])
SERVICE = FILE.services_by_name["ProbeService"]


@dataclass
class Probe:
    """The servicer: each method does what the test puts into the field of its name."""

    ask: Callable[..., Awaitable[Any]] | None = None
    count: Callable[..., AsyncIterator[Any]] | None = None
    collect: Callable[..., Awaitable[Any]] | None = None
    chat: Callable[..., AsyncIterator[Any]] | None = None
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def Ask(self, request, context):
        self.entered.set()
        try:
            return await self.ask(request, context)
        finally:
            self.released.set()

    async def Count(self, request, context):
        self.entered.set()
        try:
            async for answer in self.count(request, context):
                yield answer
        finally:
            self.released.set()

    async def Collect(self, requests, context):
        self.entered.set()
        try:
            return await self.collect(requests, context)
        finally:
            self.released.set()

    async def Chat(self, requests, context):
        self.entered.set()
        try:
            async for answer in self.chat(requests, context):
                yield answer
        finally:
            self.released.set()


class ProbeClient:
    """The four methods, with messages or with bytes that are sent as they are."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        for method in SERVICE.methods:
            shape = {
                (False, False): channel.unary_unary,
                (False, True): channel.unary_stream,
                (True, False): channel.stream_unary,
                (True, True): channel.stream_stream,
            }[method.client_streaming, method.server_streaming]
            call = shape(
                f"/{SERVICE.full_name}/{method.name}",
                request_serializer=lambda message: (
                    message if isinstance(message, bytes) else message.SerializeToString()
                ),
                response_deserializer=Answer.FromString,
            )
            setattr(self, method.name.lower(), call)


@dataclass
class Served:
    """A server that is up, with its servicer and a client."""

    server: RpcServer
    probe: Probe
    client: Any


async def error_of(call: Awaitable[Any]) -> RpcError:
    """The typed error with which the call fails."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return from_rpc_error(raised.value)


async def read_all(call: Any, into: list[Any]) -> None:
    """Reads a stream to its end."""
    async for answer in call:
        into.append(answer)
