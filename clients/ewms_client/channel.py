"""Channels and calls. Unary calls are tried again while the server is UNAVAILABLE: all of them only
read, or carry a request id or ids of events. Whatever fails, fails with an error of
`ewms_client.errors`. A broken stream is never opened again here, since what to say on a new one is
known only to whoever opened the old.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from typing import Protocol, TypeVar

import grpc

from ewms.mqs.v1 import event_service_pb2
from ewms.wms.v1 import (
    task_directive_service_pb2,
    taskforce_service_pb2,
    workflow_service_pb2,
)
from ewms_client.errors import Unavailable, typed
from ewms_rpc.channel import open_channel
from ewms_rpc.tls import ClientTls

__all__ = ["Metadata", "ReceivingCall", "answer", "connect", "received"]

_RETRIED = [
    workflow_service_pb2.DESCRIPTOR.services_by_name["WorkflowService"],
    task_directive_service_pb2.DESCRIPTOR.services_by_name["TaskDirectiveService"],
    taskforce_service_pb2.DESCRIPTOR.services_by_name["TaskforceService"],
    event_service_pb2.DESCRIPTOR.services_by_name["EventService"],
]

Metadata = Sequence[tuple[str, str]]
_Message = TypeVar("_Message")
_Sent = TypeVar("_Sent", covariant=True)


class ReceivingCall(Protocol[_Sent]):
    """A call of `grpc.aio` that messages come from."""

    def __aiter__(self) -> AsyncIterator[_Sent]: ...

    def cancel(self) -> bool: ...


def connect(address: str, *, insecure: bool, tls: ClientTls | None = None) -> grpc.aio.Channel:
    """A channel to `HOST:PORT`, over which unary calls are tried again. Connects with the first."""
    return open_channel(address, insecure=insecure, tls=tls, retried=_RETRIED)


def _was_cancelled_here() -> bool:
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


async def answer(call: Awaitable[_Message]) -> _Message:
    """The response of a unary call, or its typed error."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise typed(error) from None
    except asyncio.CancelledError:
        # grpc.aio raises this too when it is the server that cancels the call.
        if _was_cancelled_here():
            raise
        raise Unavailable("the server cancelled the call") from None


async def received(call: ReceivingCall[_Message]) -> AsyncGenerator[_Message, None]:
    """The messages of a stream until it ends with OK, or its typed error. Cancels it when left."""
    try:
        async for message in call:
            yield message
    except grpc.aio.AioRpcError as error:
        raise typed(error) from None
    except asyncio.CancelledError:
        if _was_cancelled_here():
            raise
        raise Unavailable("the server cancelled the stream") from None
    finally:
        call.cancel()
