"""Watches over many workflows or taskforces that go on by themselves, by the server's resume token.
What comes in parts is put together; nothing is acted on before its last part is there. When the
token's place is no longer kept, they say so (`Restarted`) and begin anew with a snapshot.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any, Protocol

from ewms.wms.v1 import taskforce_service_pb2, watch_pb2, workflow_service_pb2
from ewms_client.channel import ReceivingCall, received
from ewms_client.errors import OutOfRange, RpcError
from ewms_client.reconnection import Reconnection
from ewms_client.watching import Restarted

__all__ = ["TaskforcesEvent", "WorkflowsEvent", "watch_taskforces", "watch_workflows"]

WorkflowsEvent = (
    watch_pb2.WorkflowsSnapshot | watch_pb2.WorkflowRevision | watch_pb2.WorkflowLeft | Restarted
)
"""What a watch over workflows gives, each of them whole."""

TaskforcesEvent = watch_pb2.TaskforcesSnapshot | watch_pb2.TaskforcesRevision | Restarted
"""What a watch over taskforces gives, each of them whole."""


class _Event(Protocol):
    is_last: bool

    def MergeFrom(self, other: Any, /) -> None: ...


def watch_workflows(
    open_feed: Callable[[str], ReceivingCall[workflow_service_pb2.WatchWorkflowsResponse]],
    resume_token: str,
    patience: float,
) -> AsyncGenerator[tuple[WorkflowsEvent, str], None]:
    """Every event of a watch over workflows, each with the token that resumes after it."""
    return _follow(open_feed, resume_token, Reconnection("watch of workflows", patience))


def watch_taskforces(
    open_feed: Callable[[str], ReceivingCall[taskforce_service_pb2.WatchTaskforcesResponse]],
    resume_token: str,
    patience: float,
) -> AsyncGenerator[tuple[TaskforcesEvent, str], None]:
    """Every event of a watch over taskforces, each with the token that resumes after it."""
    return _follow(open_feed, resume_token, Reconnection("watch of taskforces", patience))


async def _follow(
    open_feed: Callable[[str], ReceivingCall[Any]], resume_token: str, reconnection: Reconnection
) -> AsyncGenerator[tuple[Any, str], None]:
    while True:
        whole: _Event | None = None
        try:
            async for message in received(open_feed(resume_token)):
                reconnection.note_progress()
                kind = message.WhichOneof("event")
                resume_token = message.resume_token or resume_token
                if kind in ("snapshot", "revision"):
                    part = getattr(message, kind)
                    if whole is None:
                        whole = part
                    else:
                        whole.MergeFrom(part)
                    if not part.is_last:
                        continue
                    event, whole = whole, None
                    yield event, resume_token
                elif kind == "left":
                    yield message.left, resume_token
            return
        except OutOfRange as error:
            if not resume_token:
                raise
            resume_token = ""
            yield Restarted(error.message), resume_token
        except RpcError as error:
            await reconnection.wait_after(error)
