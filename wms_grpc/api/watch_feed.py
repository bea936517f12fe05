"""WatchWorkflows and WatchTaskforces: what matches a filter, and then every change to that.

Both follow the feed of positions. Nothing is kept of what a client has seen: whether a workflow or
a taskforce matched before a revision is told by the revision itself. A resume token stands on each
message after which a client may go on.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass

from ewms.wms.v1 import taskforce_service_pb2, watch_pb2, workflow_service_pb2
from wms_grpc.api.checkpoints import checkpoint_seconds, quiet_after
from wms_grpc.api.listing import filter_of
from wms_grpc.api.resume_tokens import ResumePlace, Tokens
from wms_grpc.api.selections import Selection, TaskforceSelection, WorkflowSelection
from wms_grpc.domain.filters import WATCHED_TASKFORCES, WORKFLOWS
from wms_grpc.engine.feed import Feed
from wms_grpc.storage.feed import feed_head
from wms_grpc.storage.feed_parts import WHOLE, field_tag, framed
from wms_grpc.storage.feed_snapshots import (
    FeedSnapshot,
    snapshot_of_taskforces,
    snapshot_of_workflows,
)
from wms_grpc.storage.store import Store

__all__ = ["watch_taskforces", "watch_workflows"]


def watch_workflows(
    feed: Feed, store: Store, request: workflow_service_pb2.WatchWorkflowsRequest
) -> AsyncGenerator[bytes, None]:
    """Yield encoded `WatchWorkflowsResponse`s without end.

    Raises InvalidSubmission for the filter, the token and the checkpoint interval, PositionLost
    (also later, when the feed is renewed or compacted under a watcher), and DatabaseUnavailable
    before the first message; after it the watch waits for the database.
    """
    wanted = filter_of(request.filter, WORKFLOWS)
    response = workflow_service_pb2.WatchWorkflowsResponse
    watch = _FeedWatch(
        Tokens("WatchWorkflows", wanted.canonical),
        WorkflowSelection(wanted.predicate),
        lambda: snapshot_of_workflows(store.db, wanted),
        response(checkpoint=watch_pb2.FeedCheckpoint()).SerializeToString(),
        field_tag(response, "resume_token"),
    )
    return _watch(feed, store, request, watch)


def watch_taskforces(
    feed: Feed, store: Store, request: taskforce_service_pb2.WatchTaskforcesRequest
) -> AsyncGenerator[bytes, None]:
    """Yield encoded `WatchTaskforcesResponse`s without end; raises as `watch_workflows`."""
    wanted = filter_of(request.filter, WATCHED_TASKFORCES)
    response = taskforce_service_pb2.WatchTaskforcesResponse
    watch = _FeedWatch(
        Tokens("WatchTaskforces", wanted.canonical),
        TaskforceSelection(wanted.predicate),
        lambda: snapshot_of_taskforces(store.db, wanted),
        response(checkpoint=watch_pb2.FeedCheckpoint()).SerializeToString(),
        field_tag(response, "resume_token"),
    )
    return _watch(feed, store, request, watch)


@dataclass(frozen=True, slots=True)
class _FeedWatch:
    """In what the two watches differ."""

    tokens: Tokens
    selection: Selection
    snapshot: Callable[[], Awaitable[FeedSnapshot]]
    checkpoint: bytes
    token_tag: bytes

    def token(self, place: ResumePlace) -> bytes:
        """Return the encoded field with the token; a message followed by it has it."""
        return framed(self.token_tag, self.tokens.encode(place))


async def _watch(
    feed: Feed,
    store: Store,
    request: workflow_service_pb2.WatchWorkflowsRequest
    | taskforce_service_pb2.WatchTaskforcesRequest,
    watch: _FeedWatch,
) -> AsyncGenerator[bytes, None]:
    seconds = checkpoint_seconds(request)
    with (
        feed.positions.follow(None) as follower,
        quiet_after(seconds, follower.wake) as quiet,
    ):
        if request.resume_token:
            place = watch.tokens.decode(request.resume_token)
            head = await feed_head(store.db)
            place.check(head)
            feed.positions.begin(follower, head.epoch, place.position, head.last_position)
        else:
            snapshot = await watch.snapshot()
            feed.positions.begin(follower, snapshot.epoch, snapshot.position, snapshot.position)
            place = ResumePlace(snapshot.epoch, snapshot.position, snapshot.contained)
            *parts, last = snapshot.parts
            del snapshot
            for message in parts:
                yield message
            yield last + watch.token(place)
            quiet.touch()
        while True:
            part = follower.take()
            if part is not None:
                is_contained = (part.workflow_id, part.revision) in place.contained
                told = None if is_contained else watch.selection.of(part)
                if part.is_last:
                    place = place.behind(part)
                if told is not None:
                    yield told + (watch.token(place) if part.is_last else b"")
                    quiet.touch()
            elif follower.is_behind:
                await feed.positions.catch_up(None, follower)
            elif quiet.is_over and follower.position[1] == WHOLE:
                yield watch.checkpoint + watch.token(place)
                quiet.touch()
            else:
                await follower.wait()
