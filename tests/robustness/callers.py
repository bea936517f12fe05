"""Clients that record what they see: calls that go on to the next server when one is away, and
watches that resume through whichever server answers.

They take the generated stubs as they are, so that what a server sends is what is recorded. Nothing
is judged here.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc
from history import Called, FeedMessage, History, StreamEnded, StreamOpened, WatchMessage

from ewms.wms.v1 import (
    task_directive_service_pb2_grpc,
    taskforce_service_pb2_grpc,
    workflow_service_pb2,
    workflow_service_pb2_grpc,
)
from ewms_rpc.channel import open_channel

__all__ = ["Caller", "Refused", "Wms", "follow_feed", "follow_workflow"]

_CALL_SECONDS = 10.0
_PATIENCE_SECONDS = 120.0
_PAUSE_SECONDS = 0.1
_CHECKPOINT_SECONDS = 1
# Several checkpoints in a row that do not come: the stream is dead, whatever TCP says.
_SILENCE_SECONDS = 8.0
_TRY_AGAIN = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "RESOURCE_EXHAUSTED")


class Refused(Exception):
    """A call was answered, and not with OK."""

    def __init__(self, method: str, code: str, details: str) -> None:
        super().__init__(f"{method}: {code}: {details}")
        self.code = code


@dataclass(frozen=True)
class _Server:
    address: str
    workflows: Any
    directives: Any
    taskforces: Any


class Wms:
    """Channels to all servers; which one is asked goes round."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses
        self._exits = AsyncExitStack()
        self._turn: itertools.cycle[_Server] = itertools.cycle(())

    async def __aenter__(self) -> Self:
        servers = []
        for address in self._addresses:
            channel = await self._exits.enter_async_context(open_channel(address))
            servers.append(
                _Server(
                    address,
                    workflow_service_pb2_grpc.WorkflowServiceStub(channel),
                    task_directive_service_pb2_grpc.TaskDirectiveServiceStub(channel),
                    taskforce_service_pb2_grpc.TaskforceServiceStub(channel),
                )
            )
        self._turn = itertools.cycle(servers)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._exits.aclose()

    def next(self) -> _Server:
        """The server whose turn it is."""
        return next(self._turn)


class Caller:
    """Calls, each recorded, and repeated as it is until a server has answered it."""

    def __init__(self, wms: Wms, history: History, name: str) -> None:
        self._wms, self._history, self._name = wms, history, name

    async def ask(self, service: str, method: str, request: Any) -> Any:
        """The answer. Refused for any error that a repeat does not mend."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            server = self._wms.next()
            began = time.monotonic()
            code, details, answer = "OK", "", None
            try:
                answer = await getattr(getattr(server, service), method)(
                    request, timeout=_CALL_SECONDS
                )
            except grpc.aio.AioRpcError as error:
                code, details = error.code().name, error.details() or ""
            self._history.add(
                Called(
                    client=self._name, method=method, server=server.address, began=began,
                    request=request, code=code, answer=answer, details=details,
                )
            )  # fmt: skip
            if answer is not None:
                return answer
            if code not in _TRY_AGAIN or time.monotonic() > deadline:
                raise Refused(method, code, details)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def each(self, service: str, method: str, request: Any, field: str) -> list[Any]:
        """The items of all pages."""
        items: list[Any] = []
        while True:
            page = await self.ask(service, method, request)
            items += getattr(page, field)
            if not page.next_page_token:
                return items
            following = type(request)()
            following.CopyFrom(request)
            following.page_token = page.next_page_token
            request = following


async def follow_workflow(wms: Wms, history: History, name: str, workflow_id: str) -> None:
    """Watch a workflow over any number of streams, until a server ends one with OK."""
    last: int | None = None
    epoch = ""
    for number in itertools.count(1):
        stream, server = f"{name}/{number}", wms.next()
        request = workflow_service_pb2.WatchWorkflowRequest(
            workflow_id=workflow_id, from_revision=last, feed_epoch=epoch
        )
        request.checkpoint_interval.seconds = _CHECKPOINT_SECONDS
        history.add(
            StreamOpened(
                client=name, stream=stream, server=server.address, workflow_id=workflow_id,
                resume=last,
            )
        )  # fmt: skip
        code, details = "OK", ""
        try:
            async for message in _messages(server.workflows.WatchWorkflow(request)):
                history.add(
                    WatchMessage(
                        client=name, stream=stream, workflow_id=workflow_id, message=message
                    )
                )
                part = getattr(message, message.WhichOneof("event"))
                if message.WhichOneof("event") == "snapshot" and part.is_last:
                    last, epoch = part.revision, part.feed_epoch
                elif message.WhichOneof("event") == "revision" and part.is_last:
                    last = part.revision
        except _Broken as broken:
            code, details = broken.code, broken.details
        history.add(StreamEnded(client=name, stream=stream, code=code, details=details))
        if code == "OK":
            return
        if code not in (*_TRY_AGAIN, "SILENT"):
            raise Refused("WatchWorkflow", code, details)
        await asyncio.sleep(_PAUSE_SECONDS)


async def follow_feed(wms: Wms, history: History, name: str) -> None:
    """Watch all workflows over any number of streams, until cancelled."""
    token = ""
    for number in itertools.count(1):
        stream, server = f"{name}/{number}", wms.next()
        request = workflow_service_pb2.WatchWorkflowsRequest(resume_token=token)
        request.checkpoint_interval.seconds = _CHECKPOINT_SECONDS
        history.add(
            StreamOpened(client=name, stream=stream, server=server.address, resume=token or None)
        )
        code, details = "OK", ""
        try:
            async for message in _messages(server.workflows.WatchWorkflows(request)):
                history.add(FeedMessage(client=name, stream=stream, message=message))
                token = message.resume_token or token
        except _Broken as broken:
            code, details = broken.code, broken.details
        history.add(StreamEnded(client=name, stream=stream, code=code, details=details))
        if code not in (*_TRY_AGAIN, "SILENT"):
            raise Refused("WatchWorkflows", code, details)
        await asyncio.sleep(_PAUSE_SECONDS)


class _Broken(Exception):
    def __init__(self, code: str, details: str) -> None:
        super().__init__(code)
        self.code, self.details = code, details


async def _messages(call: Any) -> AsyncIterator[Any]:
    """A stream's messages until it ends with OK. Raises _Broken for any other end."""
    try:
        while True:
            async with asyncio.timeout(_SILENCE_SECONDS):
                message = await call.read()
            if message is grpc.aio.EOF:
                return
            yield message
    except TimeoutError:
        raise _Broken("SILENT", f"nothing for {_SILENCE_SECONDS} s") from None
    except grpc.aio.AioRpcError as error:
        raise _Broken(error.code().name, error.details() or "") from None
    finally:
        call.cancel()
