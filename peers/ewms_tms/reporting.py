"""Tells the WMS what its clusters do, as they do it.

Guarantees that only what has changed is told, at once, many clusters in one report; that what was
not answered is told again, as it is by then; and that a cluster's end is told after its last
statuses. Each cluster's sequence grows with each report of an agent, over all its sessions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from ewms.wms.v1 import taskforce_pb2, tms_service_pb2
from ewms_tms.clusters import ClusterBook
from ewms_tms.grid import Reservation
from ewms_tms.job_events import ClusterId
from ewms_tms.reports import Reports
from ewms_tms.statuses import ClusterStatus

__all__ = ["ClusterReporter", "Sequence", "report_capacity"]

_BATCH = 500
_MAX_COMPLETIONS_AT_ONCE = 16
# Capacity only explains; a pool that starts a worker a millisecond need not say so each time.
_CAPACITY_INTERVAL_SECONDS = 1.0

log = structlog.get_logger(__name__)


class Sequence:
    """Numbers that grow: the session in the upper half, a count in the lower."""

    def __init__(self) -> None:
        self.has_session = asyncio.Event()
        self._session = 0
        self._n = 0

    def begin(self, session: int) -> None:
        """A session has begun."""
        self._session, self._n = session, 0
        self.has_session.set()

    def next(self) -> int:
        """The next number."""
        self._n += 1
        return self._session << 32 | self._n


class ClusterReporter:
    """Empties a book of what has not been told.

    Parameters
    ----------
    book, reports
        What there is to tell, and to whom.
    sequence
        Numbers the updates; nothing is told before its first session.
    note_finished
        Called once the WMS has heard of a cluster's end.
    """

    def __init__(
        self,
        book: ClusterBook,
        reports: Reports,
        sequence: Sequence,
        note_finished: Callable[[ClusterId], None],
    ) -> None:
        self._book, self._reports, self._sequence = book, reports, sequence
        self._note_finished = note_finished

    async def run(self) -> None:
        """Until cancelled."""
        await self._sequence.has_session.wait()
        await self._book.is_caught_up.wait()
        while True:
            await self._book.has_news.wait()
            self._book.has_news.clear()
            while changed := self._book.take_changed(_BATCH):
                await self._tell_statuses(changed)
            while completed := self._book.completed(_MAX_COMPLETIONS_AT_ONCE):
                async with asyncio.TaskGroup() as group:
                    for status in completed:
                        group.create_task(self._tell_end(status))

    async def _tell_statuses(self, changed: list[ClusterStatus]) -> None:
        updates = [self._update(status) for status in changed]
        results = await self._reports.statuses(updates)
        for update, result in zip(updates, results, strict=False):
            if result not in (
                tms_service_pb2.STATUS_UPDATE_RESULT_UPDATED,
                tms_service_pb2.STATUS_UPDATE_RESULT_UNCHANGED,
            ):
                name = tms_service_pb2.StatusUpdateResult.Name(result)
                log.warning("statuses not taken", taskforce=update.taskforce_uuid, result=name)

    async def _tell_end(self, status: ClusterStatus) -> None:
        await self._reports.completed(status)
        cluster = status.cluster
        await asyncio.to_thread(self._note_finished, cluster.cluster_id)
        self._book.finish(cluster.cluster_id)
        log.info("complete", taskforce=cluster.taskforce, cluster=cluster.cluster_id)

    def _update(self, status: ClusterStatus) -> tms_service_pb2.StatusUpdate:
        return tms_service_pb2.StatusUpdate(
            taskforce_uuid=status.cluster.taskforce,
            attempt=status.cluster.attempt,
            cluster_id=status.cluster.cluster_id,
            sequence=self._sequence.next(),
            compound_statuses={
                job: taskforce_pb2.PilotStatusCounts(counts=pilots)
                for job, pilots in status.compound_statuses().items()
            },
            top_task_errors=status.top_task_errors(),
        )


async def report_capacity(schedd: str, reservation: Reservation, reports: Reports) -> None:
    """Tell what room a schedd has, when that has changed; until cancelled."""
    async for capacity in reservation.changes():
        await reports.capacity(schedd, capacity)
        await asyncio.sleep(_CAPACITY_INTERVAL_SECONDS)
