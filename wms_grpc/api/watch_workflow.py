"""WatchWorkflow: a snapshot of one workflow, then revision after revision.

Of the six guarantees (watch.proto) the storage gives the order, and this keeps it: each part that
is sent follows the one before, a checkpoint names what has been sent on this very stream, and what
can no longer be continued ends with PositionLost and never with a gap.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

from ewms.wms.v1 import watch_pb2, workflow_service_pb2
from wms_grpc.api.checkpoints import checkpoint_seconds, quiet_after
from wms_grpc.domain.ids import WorkflowId
from wms_grpc.engine.feed import Feed
from wms_grpc.engine.queue_stats import QueueStatsRelay
from wms_grpc.storage.feed import resume_workflow
from wms_grpc.storage.feed_parts import WHOLE
from wms_grpc.storage.snapshots import WorkflowSnapshot, snapshot_of_workflow
from wms_grpc.storage.store import Store

__all__ = ["watch_workflow"]


async def watch_workflow(
    feed: Feed,
    store: Store,
    stats: QueueStatsRelay,
    request: workflow_service_pb2.WatchWorkflowRequest,
) -> AsyncGenerator[bytes, None]:
    """Yield encoded `WatchWorkflowResponse`s, until the workflow has settled.

    Raises NotFound, PositionLost (also later, when the feed is renewed or compacted under a
    watcher), InvalidSubmission for the checkpoint interval, and DatabaseUnavailable before the
    first message; after it the watch waits for the database.
    """
    seconds = checkpoint_seconds(request)
    workflow_id = WorkflowId(request.workflow_id)
    with (
        feed.workflows.follow(workflow_id) as follower,
        stats.follow(workflow_id, follower.wake) as samples,
        quiet_after(seconds, follower.wake) as quiet,
    ):
        snapshot: WorkflowSnapshot | None = None
        if request.HasField("from_revision"):
            start = await resume_workflow(
                store.db, workflow_id, request.from_revision, request.feed_epoch
            )
            feed.workflows.begin(follower, start.epoch, request.from_revision, start.revision)
            settles_at = start.revision if start.is_settled else None
        else:
            snapshot = await snapshot_of_workflow(store.db, workflow_id)
            feed.workflows.begin(follower, snapshot.epoch, snapshot.revision, snapshot.revision)
            settles_at = snapshot.revision if snapshot.is_settled else None
            for message in snapshot.parts:
                yield message
            snapshot = None
            quiet.touch()
        while True:
            part = follower.take()
            if part is not None:
                yield part.message
                quiet.touch()
                if part.settles and settles_at is None:
                    settles_at = part.position[0]
            elif follower.is_behind:
                await feed.workflows.catch_up(workflow_id, follower)
            elif follower.position[1] != WHOLE:
                await follower.wait()
            elif (
                settles_at is not None
                and follower.position[0] >= settles_at
                and not request.keep_open
            ):
                return
            elif samples.is_new:
                yield samples.take()
                quiet.touch()
            elif quiet.is_over:
                yield _checkpoint(follower.position[0])
                quiet.touch()
            else:
                await follower.wait()


def _checkpoint(revision: int) -> bytes:
    return workflow_service_pb2.WatchWorkflowResponse(
        checkpoint=watch_pb2.Checkpoint(revision=revision)
    ).SerializeToString()
