"""The HTCondor adapter: schedds of a pool, by way of one helper process and their job event logs.

Guarantees that a cluster is submitted in one transaction with its ids in its ClassAd and in its
event, so that `find` sees it from its first instant and after its end; and that jobs are submitted
only as the account that this process runs as, whose files the pool can read and write. HTCondor is
asked about submissions and room alone: what happens to clusters is read from the log.
"""

from __future__ import annotations

import asyncio
import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog

from ewms_tms.grid import (
    Cluster,
    Grid,
    GridError,
    GridUnavailable,
    NothingDone,
    Refused,
    Submission,
    TaskforceUuid,
)
from ewms_tms.grid.condor_calls import CondorCalls
from ewms_tms.grid.condor_description import JobFiles, describe
from ewms_tms.grid.condor_files import CondorTransfer, TaskforceFiles, job_input
from ewms_tms.grid.condor_messages import (
    Act,
    Action,
    FindCluster,
    Identify,
    ListClusters,
    SubmitCluster,
)
from ewms_tms.grid.condor_watch import CondorObserver, CondorReservation
from ewms_tms.grid.condor_words import is_at_the_end
from ewms_tms.grid.condor_workers import Workers
from ewms_tms.job_events import ClusterId
from ewms_tms.submission_log import find_submission, log_of_today

__all__ = ["CondorOptions", "CondorPool", "WrongAccount"]

log = structlog.get_logger(__name__)


class WrongAccount(Exception):
    """The pool takes us for another account than the one that we run as."""


@dataclass(frozen=True, slots=True)
class CondorOptions:
    """How clusters are submitted.

    `command` is what a worker runs: its first word is shipped from here, unless the cluster's
    description names a container image. `requirements` are anded to everybody's. Input files come
    from below `input_roots` alone. `room_interval` is in seconds, between looks at the collector.
    """

    command: tuple[str, ...]
    requirements: str = ""
    input_roots: tuple[Path, ...] = ()
    room_interval: float = 10.0


class CondorPool:
    """A pool, and the schedds of it that we are the agents of.

    Parameters
    ----------
    folder
        Where everything is kept, at a path that the schedds' machine has, too.
    schedds
        EWMS's name of each -> HTCondor's.
    calls
        The helper.
    options
        How clusters are submitted.
    """

    def __init__(
        self, folder: Path, schedds: Mapping[str, str], calls: CondorCalls, options: CondorOptions
    ) -> None:
        self._schedds, self._calls, self._options = dict(schedds), calls, options
        self._checked: set[str] = set()
        self.grids = [
            self._open(folder / "schedds" / name, name, schedd) for name, schedd in schedds.items()
        ]

    async def check_accounts(self) -> None:
        """Check who we are to each schedd; one that cannot be asked is asked again later.

        Raises
        ------
        WrongAccount
            A schedd takes us for somebody else.
        """
        for schedd in self._schedds.values():
            try:
                await self.check_account(schedd)
            except GridError as error:
                # Said again at each submission, until it is well.
                log.error("not accepted by the schedd", schedd=schedd, error=str(error))
            except WrongAccount:
                await self._calls.close()
                raise

    async def run(self) -> None:
        """Keep the helper until cancelled."""
        try:
            await asyncio.Event().wait()
        finally:
            await self._calls.close()

    async def check_account(self, schedd: str) -> None:
        """Make sure, once, that the schedd takes us for the account that we run as.

        Raises
        ------
        WrongAccount
            It does not.
        Refused
            It does not let us submit.
        NothingDone
            It cannot be asked now.
        """
        if schedd in self._checked:
            return
        try:
            identity = await self._calls.do(Identify(schedd))
        except GridUnavailable as error:
            raise NothingDone(str(error)) from error
        name = pwd.getpwuid(os.geteuid()).pw_name
        if identity.account.partition("@")[0] != name:
            raise WrongAccount(
                f"{schedd} takes us for {identity.account or 'nobody'}, but this is {name}: run the"
                " TMS as the account of its token"
            )
        if not identity.may_write:
            raise Refused(f"HTCondor: {identity.account} may not submit to {schedd}")
        self._checked.add(schedd)

    def _open(self, folder: Path, name: str, schedd: str) -> Grid:
        files, workers = TaskforceFiles(folder), Workers()
        return Grid(
            schedd=name,
            dispatcher=CondorDispatcher(self, schedd, self._calls, files, self._options),
            observer=CondorObserver(files, workers),
            data_transfer=CondorTransfer(self._options.input_roots),
            reservation=CondorReservation(self._calls, workers, self._options.room_interval),
        )


class CondorDispatcher:
    """One schedd's queue."""

    def __init__(
        self,
        pool: CondorPool,
        schedd: str,
        calls: CondorCalls,
        files: TaskforceFiles,
        options: CondorOptions,
    ) -> None:
        self._pool, self._schedd, self._calls = pool, schedd, calls
        self._files, self._options = files, options

    async def submit(self, submission: Submission) -> Cluster:
        """Write the pilot's secrets to the taskforce's folder, then submit in one transaction."""
        if submission.job is not None:
            raise Refused("batch tasks are not run on HTCondor yet")
        try:
            await self._pool.check_account(self._schedd)
        except WrongAccount as error:
            raise Refused(str(error)) from error
        log_path = log_of_today(self._files.logs)
        taskforce, attempt = submission.taskforce, submission.attempt
        try:
            call = await asyncio.to_thread(self._prepare, submission, log_path)
            cluster_id = await self._calls.do(call)
        except (Refused, NothingDone) as error:
            found = await self.find(taskforce, attempt) if is_at_the_end(str(error)) else None
            if found is not None:
                return found
            await asyncio.to_thread(self._files.forget, taskforce, attempt)
            raise
        now = datetime.now(UTC)
        n_workers = submission.n_workers
        return Cluster(cluster_id, taskforce, attempt, n_workers, now, str(log_path))

    def _prepare(self, submission: Submission, log_path: Path) -> SubmitCluster:
        options = self._options
        inputs = tuple(job_input(source, options.input_roots) for source in submission.input_files)
        files = JobFiles(
            folder=self._files.of(submission.taskforce, submission.attempt),
            log=log_path,
            executable=options.command[0],
            arguments=options.command[1:],
            input_files=inputs,
            image=submission.description.get("container_image", ""),
        )
        lines = describe(submission, files)
        wanted = (options.requirements, submission.description.get("requirements", ""))
        self._files.prepare(submission)
        return SubmitCluster(self._schedd, lines, tuple(filter(None, wanted)), submission.n_workers)

    async def find(self, taskforce: TaskforceUuid, attempt: int) -> Cluster | None:
        """The cluster of an attempt: by the queue, then by the log of what has left it."""
        try:
            found = await self._calls.do(FindCluster(self._schedd, taskforce, attempt))
        except Refused as error:
            raise GridUnavailable(str(error)) from error
        if found is None:
            return await asyncio.to_thread(find_submission, self._files.logs, taskforce, attempt)
        submit_time = datetime.fromtimestamp(found.submit_time, UTC)
        log_path = found.log_path
        return Cluster(found.cluster_id, taskforce, attempt, found.n_workers, submit_time, log_path)

    async def living(self) -> frozenset[ClusterId]:
        """Every cluster of EWMS in the queue."""
        try:
            return await self._calls.do(ListClusters(self._schedd))
        except Refused as error:
            raise GridUnavailable(str(error)) from error

    async def remove(self, cluster_id: ClusterId, reason: str) -> None:
        """Have a cluster removed."""
        await self._act(cluster_id, "remove", reason)

    async def hold(self, cluster_id: ClusterId, reason: str) -> None:
        """Hold a cluster."""
        await self._act(cluster_id, "hold", reason)

    async def release(self, cluster_id: ClusterId, reason: str) -> None:
        """Release a cluster."""
        await self._act(cluster_id, "release", reason)

    async def _act(self, cluster_id: ClusterId, action: Action, reason: str) -> None:
        words = " ".join(reason.split()) or "no reason given"
        try:
            await self._calls.do(Act(self._schedd, cluster_id, action, words))
        except Refused as error:
            # It may be permitted tomorrow, and the cluster is still there.
            raise GridUnavailable(str(error)) from error
