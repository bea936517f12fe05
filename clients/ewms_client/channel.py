"""Channels and single calls. A channel keeps quiet streams alive, takes what our servers may send,
and tries unary calls again while the server is UNAVAILABLE: all of them only read, or carry a
request id. Every call has a deadline, and fails with an error of `ewms_client.errors`; streams are
never tried again here, since what to say on a new one is known only to whoever opened the old.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from typing import Protocol, TypeVar

import grpc

from ewms_client.errors import Unavailable, typed

__all__ = ["Metadata", "ReceivingCall", "answer", "open_channel", "received"]

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
_RETRIED_METHODS = {
    "ewms.wms.v1.WorkflowService": (
        "SubmitWorkflow GetWorkflow ListWorkflows ListWorkflowHistory AbortWorkflow FinishWorkflow "
        "UpdateWorkflow PauseWorkflow ResumeWorkflow ListPublicQueues CloseQueue ListDeadLetters "
        "RequeueDeadLetters"
    ),
    "ewms.wms.v1.TaskDirectiveService": "GetTaskDirective ListTaskDirectives AddWorkers",
    "ewms.wms.v1.TaskforceService": "GetTaskforce ListTaskforces",
    "ewms.mqs.v1.EventService": "SettleDeliveries RenewToken",
}
_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [
                {"service": service, "method": method}
                for service, methods in _RETRIED_METHODS.items()
                for method in methods.split()
            ],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}
_OPTIONS = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
)

Metadata = Sequence[tuple[str, str]]
_Message = TypeVar("_Message")
_Sent = TypeVar("_Sent", covariant=True)


class ReceivingCall(Protocol[_Sent]):
    """A call of `grpc.aio` that messages come from."""

    def __aiter__(self) -> AsyncIterator[_Sent]: ...

    def cancel(self) -> bool: ...


def open_channel(address: str, credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
    """A channel to `HOST:PORT`; without credentials in clear text. Connects at the first call."""
    if credentials is None:
        return grpc.aio.insecure_channel(address, options=_OPTIONS)
    return grpc.aio.secure_channel(address, credentials, options=_OPTIONS)


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
