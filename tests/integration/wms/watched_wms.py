"""WMS processes as far as the change feed goes, workflows in their database, and writers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import wms_grpc.storage.migrations
from ewms.wms.v1 import taskforce_service_pb2, watch_pb2, workflow_service_pb2
from ewms_postgres.database import Database, open_database
from ewms_postgres.migrations import upgrade
from ewms_postgres.notifications import Listener, Notifier
from ewms_postgres.statements import statement
from wms_grpc.api.watch_feed import watch_taskforces, watch_workflows
from wms_grpc.api.watch_workflow import watch_workflow
from wms_grpc.domain.ids import WorkflowId, new_workflow_id, task_id_of, taskforce_id
from wms_grpc.domain.model import WorkflowState
from wms_grpc.engine.feed import Feed, FeedSettings
from wms_grpc.engine.queue_stats import QueueStatsRelay
from wms_grpc.storage import messages, taskforces
from wms_grpc.storage.encoded_revisions import encode_revision, feed_arguments
from wms_grpc.storage.records import taskforce_from, workflow_from
from wms_grpc.storage.revisions import RevisionSet
from wms_grpc.storage.store import Store

MIGRATIONS = Path(next(iter(wms_grpc.storage.migrations.__path__)))

WatchRequest = workflow_service_pb2.WatchWorkflowRequest
WatchResponse = workflow_service_pb2.WatchWorkflowResponse

_INSERT = statement("""
    WITH workflow AS (
      INSERT INTO wms.workflow (workflow_id, owner, name, labels, priority, state, create_time,
        revision, n_tasks, n_taskforces, n_unended)
      VALUES (:workflow_id, 'ada', :name, :labels, 50, 'ACTIVE', now(), 1, 1, :n, :n)
      RETURNING *
    ), directive AS (
      INSERT INTO wms.task_directive (task_id, workflow_id, number, create_time, name, task_image,
        n_workers, spec)
      VALUES (:task_id, :workflow_id, 0, now(), 'simulate', 'image', 1, :spec)
    ), queue AS (
      INSERT INTO wms.queue (mqid, workflow_id, number, alias, is_public)
      VALUES (md5(:workflow_id::text), :workflow_id, 0, 'input', true)
    ), taskforces AS (
      INSERT INTO wms.taskforce (taskforce_uuid, workflow_id, task_id, create_time, priority,
        cluster_location, schedd, n_workers, spec, phase)
      SELECT uuid, :workflow_id, :task_id, now(), 50, 'osg', 'sub-2', 1, :spec, 'PRE_LAUNCH'
      FROM unnest(:uuids::text[]) AS u (uuid)
    ), outbox AS (
      INSERT INTO wms.outbox (workflow_id, revision) VALUES (:workflow_id, 1)
    )
    SELECT * FROM workflow
""")
_TASKFORCES = statement("SELECT * FROM wms.taskforce WHERE workflow_id = :workflow_id")
_INSERT_FEED = statement("""
    INSERT INTO wms.feed (workflow_id, revision, part, is_last, time, body, before, after)
    SELECT * FROM unnest(
      :f_workflow::text[], :f_revision::bigint[], :f_part::int[], :f_is_last::bool[],
      :f_time::timestamptz[], :f_body::bytea[], :f_before::jsonb[], :f_after::jsonb[])
""")
_SPEC: dict[str, Any] = {
    "cluster_locations": ["osg"],
    "task_args": "cp {{INFILE}} {{OUTFILE}}",
    "task_env": {},
    "init_image": "",
    "init_args": "",
    "init_env": {},
    "input_aliases": ["input"],
    "output_aliases": [],
    "input_queues": [],
    "output_queues": [],
    "worker_config": {},
    "pilot_config": {"tag": "", "image_source": "", "environment": {}, "input_files": []},
}


@dataclass
class Process:
    """What of a WMS process has to do with the feed."""

    db: Database
    feed: Feed
    store: Store
    stats: QueueStatsRelay

    async def submit(
        self, *, n_taskforces: int = 2, name: str = "", labels: dict[str, str] | None = None
    ) -> WorkflowId:
        """Write a workflow with its first revision."""
        workflow_id = new_workflow_id(datetime.now(UTC))
        task_id = task_id_of(workflow_id, 0)
        async with self.db.transaction() as tx:
            row = await tx.fetchrow(
                _INSERT,
                workflow_id=workflow_id,
                name=name,
                labels=labels or {},
                task_id=task_id,
                n=n_taskforces,
                spec=_SPEC,
                uuids=[taskforce_id(task_id, number) for number in range(n_taskforces)],
            )
            assert row is not None
            workflow = workflow_from(row)
            rows = await tx.fetch(_TASKFORCES, workflow_id=workflow_id)
            changes = [watch_pb2.Change(workflow=messages.workflow_message(workflow))] + [
                watch_pb2.Change(taskforce=messages.taskforce_message(taskforce_from(r)))
                for r in rows
            ]
            parts = encode_revision(workflow, changes, datetime.now(UTC), before=None)
            await tx.execute(_INSERT_FEED, **feed_arguments(parts))
        self.store.on_commit(parts, frozenset())
        return workflow_id

    async def change(self, *workflow_ids: WorkflowId, **changes: Any) -> None:
        """Make one revision of each workflow, in one transaction."""
        async with self.store.revising(workflow_ids) as revisions:
            for revision in revisions.all():
                revision.workflow = replace(revision.workflow, **changes)

    async def change_taskforces(self, workflow_id: WorkflowId, **changes: Any) -> None:
        """Make one revision in which all taskforces of the workflow change."""
        async with self.store.revising([workflow_id]) as revisions:
            await change_all(revisions, workflow_id, **changes)

    async def raise_priority(self, workflow_id: WorkflowId, by: int) -> None:
        """Make one revision in which the workflow and its taskforces have another priority."""
        async with self.store.revising([workflow_id]) as revisions:
            revision = revisions[workflow_id]
            priority = revision.workflow.priority + by
            revision.workflow = replace(revision.workflow, priority=priority)
            await change_all(revisions, workflow_id, priority=priority)

    async def settle(self, workflow_id: WorkflowId) -> None:
        """Make the revision with which the workflow has settled."""
        now = datetime.now(UTC)
        await self.change(workflow_id, state=WorkflowState.FINISHED, end_time=now, settled_time=now)

    def watch(
        self, workflow_id: WorkflowId, *, checkpoints: float = 3600, **fields: Any
    ) -> AsyncIterator[WatchResponse]:
        """Watch a workflow in this process, without a socket."""
        request = WatchRequest(workflow_id=workflow_id, **fields)
        request.checkpoint_interval.FromNanoseconds(int(checkpoints * 1e9))
        return decoded(watch_workflow(self.feed, self.store, self.stats, request), WatchResponse)

    def watch_workflows(
        self, wanted: str = "", *, checkpoints: float = 3600, resume_token: str = ""
    ) -> AsyncIterator[Any]:
        """Watch all workflows that match."""
        request = workflow_service_pb2.WatchWorkflowsRequest(
            filter=wanted, resume_token=resume_token
        )
        request.checkpoint_interval.FromNanoseconds(int(checkpoints * 1e9))
        return decoded(
            watch_workflows(self.feed, self.store, request),
            workflow_service_pb2.WatchWorkflowsResponse,
        )

    def watch_taskforces(
        self, wanted: str = "", *, checkpoints: float = 3600, resume_token: str = ""
    ) -> AsyncIterator[Any]:
        """Watch all taskforces that match."""
        request = taskforce_service_pb2.WatchTaskforcesRequest(
            filter=wanted, resume_token=resume_token
        )
        request.checkpoint_interval.FromNanoseconds(int(checkpoints * 1e9))
        return decoded(
            watch_taskforces(self.feed, self.store, request),
            taskforce_service_pb2.WatchTaskforcesResponse,
        )


async def change_all(revisions: RevisionSet, workflow_id: WorkflowId, **changes: Any) -> None:
    """Change all taskforces of a locked workflow."""
    before = await taskforces.lock_of_workflows(revisions, [workflow_id])
    await taskforces.save(
        revisions, {t.taskforce_uuid: t for t in before}, [replace(t, **changes) for t in before]
    )


async def decoded(bodies: AsyncGenerator[bytes, None], kind: Any) -> AsyncIterator[Any]:
    """Decode what a watch yields, and close it with the reader."""
    try:
        async for body in bodies:
            yield kind.FromString(body)
    finally:
        await bodies.aclose()


@asynccontextmanager
async def wms_process(
    url: str, settings: FeedSettings | None = None, *, is_deaf: bool = False
) -> AsyncIterator[Process]:
    """Run what of a WMS process has to do with the feed; a deaf one hears no notification."""
    async with (
        open_database(url, application_name="wms") as db,
        Notifier(url) as notifier,
    ):
        feed = Feed(db, url, notifier.notify, settings)
        listener = Listener(
            url,
            Feed.channels,
            on_notification=(lambda _channel, _payload: None) if is_deaf else feed.on_notification,
            on_gap=feed.missed,
        )
        loops = [asyncio.create_task(feed.run()), asyncio.create_task(listener.run())]
        try:
            await listener.connected.wait()
            stats = QueueStatsRelay(cast(Any, None))
            yield Process(db, feed, Store(db, lambda parts, _topics: feed.committed(parts)), stats)
        finally:
            for loop in loops:
                loop.cancel()
            ended = await asyncio.gather(*loops, return_exceptions=True)
            assert all(isinstance(end, asyncio.CancelledError) for end in ended), ended


async def prepare(url: str) -> str:
    """Bring the database's schema up to date."""
    await upgrade(url, script_location=MIGRATIONS, schema="wms")
    return url


async def revision_of(watch: AsyncIterator[WatchResponse]) -> watch_pb2.WorkflowRevision:
    """Return the next message, which must be a revision."""
    message = await anext(watch)
    assert message.WhichOneof("event") == "revision", message
    return message.revision


async def snapshot_of(watch: AsyncIterator[WatchResponse]) -> watch_pb2.WorkflowSnapshot:
    """Return the snapshot with which the watch begins, put together."""
    whole = watch_pb2.WorkflowSnapshot()
    while not whole.is_last:
        message = await anext(watch)
        assert message.WhichOneof("event") == "snapshot", message
        whole.MergeFrom(message.snapshot)
    return whole
