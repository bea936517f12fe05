"""Watches that go on by themselves. A watch of one workflow is put together from its parts, checked
for gaps and repeats, and resumed after its last revision when the stream breaks; when the server no
longer keeps that place, it says so (`Restarted`) and begins anew with a snapshot. Nothing is acted
on before its last part is there, nothing comes twice, nothing is left out in silence.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

from ewms.wms.v1 import watch_pb2, workflow_service_pb2
from ewms_client.channel import ReceivingCall, received
from ewms_client.errors import OutOfRange, RevisionGap, RpcError
from ewms_client.reconnection import Reconnection

__all__ = ["Restarted", "WatchAssembly", "WatchEvent", "watch_workflow"]


@dataclass(frozen=True, slots=True)
class Restarted:
    """The place to resume from is gone, so a snapshot follows: forget what came before.

    What happened in between is in the snapshot as its outcome alone. `reason` is the server's.
    """

    reason: str


WatchEvent = (
    watch_pb2.WorkflowSnapshot
    | watch_pb2.WorkflowRevision
    | watch_pb2.Checkpoint
    | watch_pb2.QueueStatsSample
    | Restarted
)
"""What a watch of a workflow gives, each of them whole."""

OpenWatch = Callable[
    [workflow_service_pb2.WatchWorkflowRequest],
    ReceivingCall[workflow_service_pb2.WatchWorkflowResponse],
]


class WatchAssembly:
    """Puts parts together and holds the watch to its promises. `revision` is the last whole one."""

    def __init__(self, revision: int | None) -> None:
        self.revision = revision
        self.feed_epoch = ""
        self._snapshot: watch_pb2.WorkflowSnapshot | None = None
        self._partial: watch_pb2.WorkflowRevision | None = None

    def drop_parts(self) -> None:
        """The stream broke: what is not whole comes again."""
        self._snapshot = self._partial = None

    def forget(self) -> None:
        """The watch begins anew with a snapshot."""
        self.drop_parts()
        self.revision, self.feed_epoch = None, ""

    def add(self, message: workflow_service_pb2.WatchWorkflowResponse) -> WatchEvent | None:
        """The event that is whole with this message, if any. RevisionGap if it is not the next."""
        match message.WhichOneof("event"):
            case "snapshot":
                return self._add_snapshot(message.snapshot)
            case "revision":
                return self._add_revision(message.revision)
            case "checkpoint":
                if message.checkpoint.revision != self.revision:
                    raise RevisionGap(self.revision or 0, message.checkpoint.revision)
                return message.checkpoint
            case "queue_stats":
                return message.queue_stats
            case _:
                return None  # a kind that a newer server knows

    def _add_snapshot(self, part: watch_pb2.WorkflowSnapshot) -> watch_pb2.WorkflowSnapshot | None:
        if self._snapshot is None:
            self._snapshot = part
        else:
            if part.revision != self._snapshot.revision:
                raise RevisionGap(self._snapshot.revision, part.revision)
            self._snapshot.MergeFrom(part)
        if not part.is_last:
            return None
        whole, self._snapshot = self._snapshot, None
        self.revision, self.feed_epoch = whole.revision, whole.feed_epoch
        return whole

    def _add_revision(self, part: watch_pb2.WorkflowRevision) -> watch_pb2.WorkflowRevision | None:
        expected = (self.revision or 0) + 1
        if part.revision != expected or self.revision is None:
            raise RevisionGap(expected, part.revision)
        if self._partial is None:
            self._partial = part
        else:
            self._partial.MergeFrom(part)
        if not part.is_last:
            return None
        whole, self._partial = self._partial, None
        self.revision = whole.revision
        return whole


async def watch_workflow(
    open_watch: OpenWatch,
    request: workflow_service_pb2.WatchWorkflowRequest,
    patience: float,
) -> AsyncGenerator[WatchEvent, None]:
    """Every event of the watch that `request` asks for, over any number of broken streams.

    Ends when the server ends the watch with OK. `patience`, in seconds: how long to try without
    success before the last error is raised.
    """
    reconnection = Reconnection(f"watch of {request.workflow_id}", patience)
    assembly = WatchAssembly(request.from_revision if request.HasField("from_revision") else None)
    assembly.feed_epoch = request.feed_epoch
    while True:
        try:
            async for message in received(open_watch(_resuming(request, assembly))):
                event = assembly.add(message)
                reconnection.note_progress()
                if event is not None:
                    yield event
            return
        except OutOfRange as error:
            if assembly.revision is None:
                raise
            assembly.forget()
            yield Restarted(error.message)
        except RpcError as error:
            assembly.drop_parts()
            await reconnection.wait_after(error)


def _resuming(
    request: workflow_service_pb2.WatchWorkflowRequest, assembly: WatchAssembly
) -> workflow_service_pb2.WatchWorkflowRequest:
    resumed = workflow_service_pb2.WatchWorkflowRequest()
    resumed.CopyFrom(request)
    resumed.ClearField("from_revision")
    if assembly.revision is not None:
        resumed.from_revision = assembly.revision
    resumed.feed_epoch = assembly.feed_epoch
    return resumed
