"""The agent of one schedd: keeps its stream to the WMS, and passes on what comes on it.

Guarantees that the logs have been read to their end, and every open intent is settled, before the
first stream is opened; and that a stream which ends, or falls silent for longer than its lease, is
opened again, for ever.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import structlog

from ewms.wms.v1 import tms_service_pb2, tms_service_pb2_grpc
from ewms_rpc.backoff import Backoff
from ewms_rpc.errors import from_rpc_error
from ewms_tms.assignments import Assignments
from ewms_tms.clusters import ClusterBook
from ewms_tms.grid import Grid, TaskforceUuid
from ewms_tms.journal import Journal
from ewms_tms.lease import Lease
from ewms_tms.lost_clusters import LostClusters
from ewms_tms.reporting import ClusterReporter, Sequence, report_capacity
from ewms_tms.reports import Reports
from ewms_tms.retention import Retention, expire
from ewms_tms.submission import PilotSettings

__all__ = ["Agent"]

# The WMS keeps at most 64 assignments unanswered; what is beyond waits in the stream.
_MAX_AT_ONCE = 128
_TIDY_INTERVAL_SECONDS = 3600.0
# Agents are few: a WMS that comes back need not be spared their calls.
_LONGEST_RECONNECT_SECONDS = 1.0
# Until the stream's first message: its lease.
_LEASE_TIMEOUT_SECONDS = 10.0

log = structlog.get_logger(__name__)


class _StreamLost(Exception):
    """The stream is no good any more; why, in words."""

    def __init__(self, reason: str, retry_after: timedelta | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class Agent:
    """One schedd's agent.

    Parameters
    ----------
    agent_id
        Who we are to the WMS, over all restarts.
    grid
        The schedd.
    channel
        To the WMS.
    folder
        The schedd's folder, where the journal is.
    pilot
        What every pilot is told.
    keep
        For how long the files of a cluster that has ended are kept, and what becomes of them.
    note_leased
        Called with the schedd's name at each new lease.
    """

    def __init__(
        self,
        agent_id: str,
        grid: Grid,
        channel: grpc.aio.Channel,
        folder: Path,
        pilot: PilotSettings,
        keep: Retention,
        note_leased: Callable[[str], None],
    ) -> None:
        self._agent_id, self._grid, self._note_leased = agent_id, grid, note_leased
        self._stub = tms_service_pb2_grpc.TmsServiceStub(channel)
        self._folder, self._keep = folder, keep
        self._journal = Journal(folder / "journal")
        self._book = ClusterBook(self._journal.finished)
        self._reports = Reports(channel)
        self._sequence = Sequence()
        self._assignments = Assignments(
            grid.dispatcher, self._journal, self._book, self._reports, pilot
        )
        self._lost = LostClusters(grid.dispatcher, self._book)
        self._lease: Lease | None = None
        self._room = asyncio.Semaphore(_MAX_AT_ONCE)

    @property
    def schedd(self) -> str:
        """Whose agent it is."""
        return self._grid.schedd

    @property
    def book(self) -> ClusterBook:
        """Its clusters."""
        return self._book

    @property
    def lease_seconds(self) -> float:
        """What is left of its lease; 0 without one."""
        return self._lease.seconds_left if self._lease else 0.0

    async def run(self) -> None:
        """Until cancelled."""
        reporter = ClusterReporter(self._book, self._reports, self._sequence, self._journal.finish)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._observe())
            group.create_task(reporter.run())
            group.create_task(self._report_capacity())
            await self._book.is_caught_up.wait()
            await self._assignments.settle()
            group.create_task(self._tidy())
            group.create_task(self._give_up_lost())
            await self._keep_stream(group)

    async def _report_capacity(self) -> None:
        await self._sequence.has_session.wait()
        await report_capacity(self._grid.schedd, self._grid.reservation, self._reports)

    async def _observe(self) -> None:
        backoff = Backoff()
        while True:
            try:
                async with aclosing(self._grid.observer.follow()) as observations:
                    async for observation in observations:
                        self._book.observe(observation)
                        backoff.reset()
            except OSError as error:
                log.error("cannot follow the logs", schedd=self._grid.schedd, error=str(error))
                self._lost.ask_soon()
            await backoff.wait()

    async def _give_up_lost(self) -> None:
        while True:
            for cluster in await self._lost.next():
                await self._assignments.give_up(cluster)

    async def _tidy(self) -> None:
        """Delete what has been over for long, now and then."""
        while True:
            before = time.time() - self._keep.time.total_seconds()
            try:
                gone = await asyncio.to_thread(
                    expire,
                    self._folder,
                    lambda cluster_id: cluster_id not in self._book,
                    before,
                    self._is_free,
                    self._keep.archive,
                )
                await asyncio.to_thread(self._journal.forget, gone)
            except OSError as error:
                log.warning("cannot tidy up", schedd=self._grid.schedd, error=str(error))
            await asyncio.sleep(_TIDY_INTERVAL_SECONDS)

    def _is_free(self, taskforce: TaskforceUuid) -> bool:
        intended = any(intent.taskforce == taskforce for intent in self._journal.open_intents)
        return not intended and not self._book.of_taskforce(taskforce)

    async def _keep_stream(self, group: asyncio.TaskGroup) -> None:
        backoff = Backoff(limit=_LONGEST_RECONNECT_SECONDS)
        while True:
            try:
                await self._follow_stream(group, backoff)
            except _StreamLost as error:
                log.warning("stream lost", schedd=self._grid.schedd, reason=str(error))
                await backoff.wait(error.retry_after)

    async def _follow_stream(self, group: asyncio.TaskGroup, backoff: Backoff) -> None:
        request = tms_service_pb2.WatchAssignmentsRequest(
            schedd=self._grid.schedd, agent_id=self._agent_id
        )
        # Waiting for the connection is no failure: a WMS that starts is found as soon as it serves.
        stream = self._stub.WatchAssignments(request, wait_for_ready=True)
        beat: asyncio.Task[None] | None = None
        try:
            lease = self._lease = await self._first_lease(stream)
            beat = group.create_task(lease.beat())
            backoff.reset()
            while True:
                message = await _next_message(stream, lease.seconds_left)
                if not lease.is_held:
                    raise _StreamLost("the lease has run out")
                await self._take(message, lease, group)
        finally:
            stream.cancel()
            self._lease = None
            if beat is not None:
                beat.cancel()

    async def _first_lease(self, stream: _Stream) -> Lease:
        message = await _next_message(stream, _LEASE_TIMEOUT_SECONDS)
        if message.WhichOneof("assignment") != "lease":
            raise _StreamLost("the stream does not begin with a lease")
        given = message.lease
        lease = Lease(given.session, given.ttl.ToTimedelta().total_seconds())
        self._assignments.begin_session()
        self._sequence.begin(given.session)
        log.info("leased", schedd=self._grid.schedd, session=given.session)
        self._note_leased(self._grid.schedd)
        return lease

    async def _take(
        self,
        message: tms_service_pb2.WatchAssignmentsResponse,
        lease: Lease,
        group: asyncio.TaskGroup,
    ) -> None:
        match message.WhichOneof("assignment"):
            case "lease":
                lease.renew(message.lease.ttl.ToTimedelta().total_seconds())
            case "start":
                await self._begin(group, self._assignments.start(message.start, lease))
            case "stop":
                await self._begin(group, self._assignments.stop(message.stop))
            case "hold":
                await self._begin(group, self._assignments.hold(message.hold))
            case "release":
                await self._begin(group, self._assignments.release(message.release))
            case _:
                log.warning("unknown assignment", schedd=self._grid.schedd)

    async def _begin(self, group: asyncio.TaskGroup, work: Coroutine[Any, Any, None]) -> None:
        await self._room.acquire()
        # Tasks begin in the order of their creation, and so take their taskforce's turns.
        group.create_task(self._guarded(work))

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception:
            # A fault of ours in one assignment must not stop the others; the WMS asks again.
            log.exception("assignment failed", schedd=self._grid.schedd)
        finally:
            self._room.release()


_Stream = grpc.aio.UnaryStreamCall[
    tms_service_pb2.WatchAssignmentsRequest, tms_service_pb2.WatchAssignmentsResponse
]


async def _next_message(
    stream: _Stream, timeout: float
) -> tms_service_pb2.WatchAssignmentsResponse:
    try:
        async with asyncio.timeout(timeout):
            message = await stream.read()
    except TimeoutError:
        raise _StreamLost("the WMS is away or silent") from None
    except grpc.RpcError as error:
        typed = from_rpc_error(error)
        raise _StreamLost(f"{typed.code.name}: {typed.message}", typed.retry_after) from None
    if not isinstance(message, tms_service_pb2.WatchAssignmentsResponse):
        raise _StreamLost("the WMS has ended it")
    return message
