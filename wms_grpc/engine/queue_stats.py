"""Counts of queues, relayed from the MQS to those who watch their workflows.

One stream for all workflows that this process watches, opened anew when one more is. Samples are
outside of every guarantee: at most one a second and workflow, only the latest is kept, and while
the MQS is away none comes and nothing else changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import grpc
import structlog
from google.protobuf.duration_pb2 import Duration

from ewms.mqs.v1 import mqs_service_pb2
from ewms.wms.v1 import watch_pb2, workflow_pb2, workflow_service_pb2
from ewms_rpc.backoff import Backoff
from wms_grpc.domain.ids import WorkflowId

if TYPE_CHECKING:
    from ewms.mqs.v1.mqs_service_pb2_grpc import MqsServiceAsyncStub

__all__ = ["QueueStatsRelay", "Samples"]

# The MQS gives a sign of life every 15 s.
_SILENCE_SECONDS = 45.0
# Opened anew from time to time, so that no stream outlives what it was opened for.
_STREAM_SECONDS = 600.0

_log = structlog.get_logger(__name__)


class Samples:
    """The latest sample for one watch; `is_new` until it is taken."""

    __slots__ = ("_wake", "is_new", "latest")

    def __init__(self, wake: Callable[[], None], latest: bytes | None) -> None:
        self._wake = wake
        self.latest = latest
        self.is_new = latest is not None

    def put(self, sample: bytes) -> None:
        """Replace the sample and wake the watch."""
        self.latest = sample
        self.is_new = True
        self._wake()

    def take(self) -> bytes:
        """Return the sample, an encoded `WatchWorkflowResponse`."""
        self.is_new = False
        assert self.latest is not None
        return self.latest


class _Watched:
    """A workflow that is watched: its counts by alias, and who wants them."""

    __slots__ = ("counts", "is_changed", "sample", "watches")

    def __init__(self) -> None:
        self.watches: set[Samples] = set()
        self.counts: dict[str, workflow_pb2.QueueStats] = {}
        self.sample: bytes | None = None
        self.is_changed = False

    def publish(self) -> None:
        if not self.is_changed:
            return
        self.is_changed = False
        queues = [self.counts[alias] for alias in sorted(self.counts)]
        self.sample = workflow_service_pb2.WatchWorkflowResponse(
            queue_stats=watch_pb2.QueueStatsSample(queues=queues)
        ).SerializeToString()
        for samples in self.watches:
            samples.put(self.sample)


class QueueStatsRelay:
    """The relay of one process. `run` runs for as long as the process serves.

    Parameters
    ----------
    mqs
        The MQS.
    interval
        Least time between two samples of a workflow.
    """

    def __init__(
        self, mqs: MqsServiceAsyncStub, *, interval: timedelta = timedelta(seconds=1)
    ) -> None:
        self._mqs = mqs
        self._interval = interval
        self._watched: dict[WorkflowId, _Watched] = {}
        self._changed = asyncio.Event()
        self._publishing: asyncio.TimerHandle | None = None

    @contextmanager
    def follow(self, workflow_id: WorkflowId, wake: Callable[[], None]) -> Iterator[Samples]:
        """Have samples of the workflow for the length of the block; `wake` is called for each."""
        watched = self._watched.get(workflow_id)
        if watched is None:
            watched = self._watched[workflow_id] = _Watched()
            self._changed.set()
        samples = Samples(wake, watched.sample)
        watched.watches.add(samples)
        try:
            yield samples
        finally:
            watched.watches.discard(samples)
            if not watched.watches:
                del self._watched[workflow_id]
                if not self._watched:
                    self._changed.set()

    async def run(self) -> None:
        """Relay until cancelled."""
        backoff = Backoff()
        pause = self._interval.total_seconds()
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                while self._watched and not self._changed.is_set():
                    if await self._relay():
                        backoff.reset()
                    else:
                        await backoff.wait()
                # Many watches that begin at once open one stream and not one each.
                await asyncio.sleep(pause)
        finally:
            if self._publishing is not None:
                self._publishing.cancel()

    async def _relay(self) -> bool:
        """Read one stream until more is watched, or nothing is. Returns whether it went well."""
        interval = Duration()
        interval.FromTimedelta(self._interval)
        call = self._mqs.WatchQueueStats(
            mqs_service_pb2.WatchQueueStatsRequest(
                workflow_ids=list(self._watched), interval=interval
            ),
            timeout=_STREAM_SECONDS,
        )
        reading = asyncio.ensure_future(self._read(call))
        changed = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait((reading, changed), return_when=asyncio.FIRST_COMPLETED)
            return await reading if reading.done() else True
        finally:
            changed.cancel()
            reading.cancel()
            call.cancel()
            await asyncio.wait((reading, changed))

    async def _read(
        self,
        call: grpc.aio.UnaryStreamCall[
            mqs_service_pb2.WatchQueueStatsRequest, mqs_service_pb2.WatchQueueStatsResponse
        ],
    ) -> bool:
        try:
            while True:
                async with asyncio.timeout(_SILENCE_SECONDS):
                    response = await call.read()
                if not isinstance(response, mqs_service_pb2.WatchQueueStatsResponse):
                    return True
                self._count(response.queues)
        except TimeoutError:
            _log.info("the MQS is silent: no counts of queues meanwhile")
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                return True
            _log.info("the MQS is away: no counts of queues meanwhile", code=error.code().name)
        return False

    def _count(self, queues: Iterable[mqs_service_pb2.QueueStats]) -> None:
        for queue in queues:
            watched = self._watched.get(WorkflowId(queue.workflow_id))
            if watched is None:
                continue
            counts = workflow_pb2.QueueStats(
                alias=queue.alias,
                depth=queue.depth,
                in_flight=queue.in_flight,
                done=queue.done,
                dead=queue.dead,
            )
            if watched.counts.get(queue.alias) != counts:
                watched.counts[queue.alias] = counts
                watched.is_changed = True
        if self._publishing is None:
            self._publish()

    def _publish(self) -> None:
        self._publishing = None
        if not any(watched.is_changed for watched in self._watched.values()):
            return
        for watched in self._watched.values():
            watched.publish()
        self._publishing = asyncio.get_running_loop().call_later(
            self._interval.total_seconds(), self._publish
        )
