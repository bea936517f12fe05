"""Carries out assignments: at most one cluster a taskforce, whatever is repeated or cut short.

Guarantees that what is assigned of one taskforce is done in its order; that an intent is on the
disk before a submission; that what became of an intent is found out before anything else of its
taskforce, never guessed; and that every start and stop is answered. Must never submit without a
lease that holds, nor a second time while a cluster of the taskforce is known.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import structlog

from ewms.wms.v1 import tms_service_pb2
from ewms_rpc.backoff import Backoff
from ewms_tms.clusters import ClusterBook
from ewms_tms.grid import (
    Cluster,
    Dispatcher,
    GridError,
    GridUnavailable,
    NothingDone,
    Refused,
    Submission,
    TaskforceUuid,
    UnknownCluster,
)
from ewms_tms.job_events import ClusterId
from ewms_tms.journal import Intent, Journal
from ewms_tms.lease import Lease
from ewms_tms.reports import Reports
from ewms_tms.submission import PilotSettings, compose_submission

__all__ = ["Assignments"]

_STEER_TRIES = 5

log = structlog.get_logger(__name__)


class Assignments:
    """One schedd's assignments.

    Parameters
    ----------
    dispatcher
        Where they are carried out.
    journal, book, reports
        What is intended, what there is, and who is told.
    pilot
        What every pilot is told.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        journal: Journal,
        book: ClusterBook,
        reports: Reports,
        pilot: PilotSettings,
    ) -> None:
        self._dispatcher, self._journal, self._book = dispatcher, journal, book
        self._reports, self._pilot = reports, pilot
        self._turns: dict[TaskforceUuid, _Turn] = {}
        self._voided: dict[TaskforceUuid, int] = {}

    def begin_session(self) -> None:
        """A new stream: what came on older ones is no longer acted upon."""
        self._voided.clear()

    async def settle(self) -> None:
        """Find out what became of every open intent, and report every cluster that is not known.

        Asked for before a stream is opened. Comes back only when all of it is answered.
        """
        for intent in self._journal.open_intents:
            cluster = await self._found(intent)
            log.info("settled an intent", taskforce=intent.taskforce, found=cluster is not None)
        announced = self._journal.announced
        for cluster in self._book.unannounced():
            if cluster.cluster_id in announced:
                self._book.announce(cluster.cluster_id)
            else:
                await self._report_submitted(cluster)
        for cluster_id, (taskforce, attempt) in announced.items():
            if cluster_id not in self._book:
                await self._look_for(cluster_id, taskforce, attempt)

    async def give_up(self, cluster: Cluster) -> None:
        """A cluster is in neither queue nor log: tell the WMS, and forget it."""
        taskforce, cluster_id = cluster.taskforce, cluster.cluster_id
        async with self._turn(taskforce):
            if cluster_id in self._book:
                await self._report_lost(cluster_id, taskforce, cluster.attempt)
                self._book.finish(cluster_id)

    async def _look_for(
        self, cluster_id: ClusterId, taskforce: TaskforceUuid, attempt: int
    ) -> None:
        """A cluster that no log has any more may still be in the queue."""
        found = await self._find(taskforce, attempt)
        if found is not None and found.cluster_id == cluster_id:
            self._book.add(found)
            self._book.announce(cluster_id)
            return
        await self._report_lost(cluster_id, taskforce, attempt)

    async def _report_lost(
        self, cluster_id: ClusterId, taskforce: TaskforceUuid, attempt: int
    ) -> None:
        log.error("a cluster is lost", taskforce=taskforce, cluster=cluster_id)
        await self._reports.lost(taskforce, attempt, cluster_id)
        self._note(partial(self._journal.finish, cluster_id))

    async def start(self, start: tms_service_pb2.StartAssignment, lease: Lease) -> None:
        """Submit a taskforce, unless it has been, and report its cluster."""
        taskforce = TaskforceUuid(start.taskforce.taskforce_uuid)
        async with self._turn(taskforce):
            if start.attempt <= self._voided.get(taskforce, 0):
                return
            known = self._book.of_taskforce(taskforce)
            if known:
                for cluster in known:
                    await self._report_submitted(cluster)
                return
            try:
                submission = compose_submission(start, self._pilot)
                cluster_or_none = await self._submit(submission, lease)
            except GridError as error:
                is_refusal = isinstance(error, Refused)
                log.warning("not submitted", taskforce=taskforce, error=str(error))
                await self._reports.submission_failed(
                    taskforce, start.attempt, str(error), is_refusal=is_refusal
                )
                return
            if cluster_or_none is not None:
                await self._report_submitted(cluster_or_none)

    async def stop(self, stop: tms_service_pb2.StopAssignment) -> None:
        """Remove what there is of a taskforce, and say so, even if it is nothing."""
        taskforce = TaskforceUuid(stop.taskforce_uuid)
        async with self._turn(taskforce):
            self._voided[taskforce] = max(stop.attempt, self._voided.get(taskforce, 0))
            known = [cluster.cluster_id for cluster in self._book.of_taskforce(taskforce)]
            targets = [ClusterId(stop.cluster_id)] if stop.HasField("cluster_id") else known
            if not targets:
                await self._reports.removed(taskforce, stop.attempt, None)
            for cluster_id in targets:
                await self._remove(taskforce, stop, cluster_id)

    async def hold(self, hold: tms_service_pb2.HoldAssignment) -> None:
        """Hold a cluster, if there is one."""
        async with self._turn(TaskforceUuid(hold.taskforce_uuid)):
            await self._steer(ClusterId(hold.cluster_id), hold.reason)

    async def release(self, release: tms_service_pb2.ReleaseAssignment) -> None:
        """Release a cluster, if there is one."""
        async with self._turn(TaskforceUuid(release.taskforce_uuid)):
            await self._steer(ClusterId(release.cluster_id), None)

    async def _submit(self, submission: Submission, lease: Lease) -> Cluster | None:
        """The new cluster; None when the lease has run out, and somebody else may submit.

        Raises GridError when it is certain that there is no cluster.
        """
        intent = Intent(submission.taskforce, submission.attempt, submission.description)
        if not lease.is_held:
            return None
        try:
            await asyncio.to_thread(self._journal.intend, intent)
        except OSError as error:
            raise GridUnavailable(f"the agent's journal cannot be written: {error}") from error
        if not lease.is_held:
            self._note_settled(intent, None)
            return None
        try:
            cluster = await self._dispatcher.submit(submission)
        except (Refused, NothingDone):
            self._note_settled(intent, None)
            raise
        except GridUnavailable as error:
            log.warning("submission in doubt", taskforce=intent.taskforce, error=str(error))
            found = await self._found(intent)
            if found is None:
                raise
            return found
        self._note_settled(intent, cluster)
        return cluster

    async def _found(self, intent: Intent) -> Cluster | None:
        """What became of an intent, however long it takes to find out."""
        cluster = await self._find(intent.taskforce, intent.attempt)
        self._note_settled(intent, cluster)
        return cluster

    async def _find(self, taskforce: TaskforceUuid, attempt: int) -> Cluster | None:
        backoff = Backoff()
        while True:
            try:
                return await self._dispatcher.find(taskforce, attempt)
            except GridUnavailable as error:
                log.warning("cannot settle", taskforce=taskforce, error=str(error))
            await backoff.wait()

    def _note_settled(self, intent: Intent, cluster: Cluster | None) -> None:
        if cluster is not None:
            self._book.add(cluster)
        cluster_id = cluster.cluster_id if cluster is not None else None
        self._note(partial(self._journal.settle, intent, cluster_id))

    async def _report_submitted(self, cluster: Cluster) -> None:
        await self._reports.submitted(cluster, self._journal.description(cluster.cluster_id))
        self._book.announce(cluster.cluster_id)
        self._note(partial(self._journal.announce, cluster))
        log.info("submitted", taskforce=cluster.taskforce, cluster=cluster.cluster_id)

    async def _remove(
        self, taskforce: TaskforceUuid, stop: tms_service_pb2.StopAssignment, cluster_id: ClusterId
    ) -> None:
        is_lost = False
        try:
            await self._dispatcher.remove(cluster_id, stop.reason or "stopped by the WMS")
        except UnknownCluster:
            # One whose end has not been told yet is told by the reporter.
            is_lost = cluster_id not in self._book
        except GridUnavailable as error:
            await self._reports.removal_failed(taskforce, stop.attempt, cluster_id, str(error))
            return
        await self._reports.removed(taskforce, stop.attempt, cluster_id)
        if is_lost:
            await self._reports.lost(taskforce, stop.attempt, cluster_id)

    async def _steer(self, cluster_id: ClusterId, hold_reason: str | None) -> None:
        backoff = Backoff()
        for _ in range(_STEER_TRIES):
            try:
                if hold_reason is None:
                    await self._dispatcher.release(cluster_id, "released by the WMS")
                else:
                    await self._dispatcher.hold(cluster_id, hold_reason or "held by the WMS")
                return
            except UnknownCluster:
                return
            except GridUnavailable as error:
                log.warning("cannot hold or release", cluster=cluster_id, error=str(error))
            await backoff.wait()
        log.error("gave up holding or releasing", cluster=cluster_id)

    def _note(self, write: Callable[[], None]) -> None:
        """Write to the journal what can be found out again, should the disk not take it."""
        try:
            write()
        except OSError as error:
            log.warning("the journal cannot be written", error=str(error))

    @asynccontextmanager
    async def _turn(self, taskforce: TaskforceUuid) -> AsyncIterator[None]:
        """One after the other, in the order of asking."""
        turn = self._turns.setdefault(taskforce, _Turn())
        turn.n_users += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.n_users -= 1
            if not turn.n_users:
                del self._turns[taskforce]


class _Turn:
    """The order of what is assigned of one taskforce."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.n_users = 0
