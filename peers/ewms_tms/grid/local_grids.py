"""Schedds of the local pool, as the TMS uses a grid; each works while its machine's loop runs."""

from __future__ import annotations

from collections.abc import AsyncIterator

from ewms_tms.follower import LogObserver
from ewms_tms.grid import Capacity, Cluster, Grid, Refused, Submission, TaskforceUuid
from ewms_tms.grid.local import LocalMachine
from ewms_tms.grid.local_schedd import LocalSchedd
from ewms_tms.grid.staging import LocalTransfer
from ewms_tms.job_events import ClusterId

__all__ = ["open_local_grids"]


class LocalDispatcher:
    """A local schedd's queue, as the TMS uses it."""

    def __init__(self, machine: LocalMachine, schedd: LocalSchedd, transfer: LocalTransfer) -> None:
        self._machine, self._schedd, self._transfer = machine, schedd, transfer

    async def submit(self, submission: Submission) -> Cluster:
        """Stage the input files in, then put the cluster into the queue.

        Refused at once is what could never run here: no machine joins this pool later.
        """
        schedd, machine = self._schedd, self._machine
        lack = machine.pool.lack(submission.limits)
        if lack is not None:
            raise Refused(lack)
        cluster_id = await machine.do(machine.next_cluster_id)
        folder = schedd.queue.folder_of(submission.taskforce, cluster_id)
        if submission.input_files:
            try:
                await self._transfer.stage_in(submission.input_files, folder / "files")
            except BaseException:
                await machine.do(lambda: schedd.forget(folder))
                raise
        return await machine.do(lambda: schedd.submit(cluster_id, submission))

    async def find(self, taskforce: TaskforceUuid, attempt: int) -> Cluster | None:
        """The cluster of an attempt, by the logs."""
        return await self._machine.do(lambda: self._schedd.queue.find(taskforce, attempt))

    async def living(self) -> frozenset[ClusterId]:
        """The queue's clusters."""
        return await self._machine.do(lambda: frozenset(self._schedd.queue.clusters))

    async def remove(self, cluster_id: ClusterId, reason: str) -> None:
        """Have a cluster removed."""
        await self._machine.do(lambda: self._schedd.remove(cluster_id, reason))

    async def hold(self, cluster_id: ClusterId, reason: str) -> None:
        """Hold a cluster."""
        await self._machine.do(lambda: self._schedd.hold(cluster_id, reason))

    async def release(self, cluster_id: ClusterId, reason: str) -> None:
        """Release a cluster."""
        await self._machine.do(lambda: self._schedd.release(cluster_id, reason))


class LocalReservation:
    """A local schedd's room."""

    def __init__(self, machine: LocalMachine, schedd: LocalSchedd) -> None:
        self._machine, self._schedd = machine, schedd

    async def changes(self) -> AsyncIterator[Capacity]:
        """The capacity now, then each time it has changed."""
        capacity = None
        while True:
            capacity = await self._machine.changed_capacity(self._schedd, capacity)
            yield capacity


def open_local_grids(machine: LocalMachine) -> list[Grid]:
    """The adapters of a machine's schedds; they work while `machine.run` runs."""
    transfer = LocalTransfer()
    return [
        Grid(
            schedd=name,
            dispatcher=LocalDispatcher(machine, schedd, transfer),
            observer=LogObserver(schedd.queue.logs_folder),
            data_transfer=transfer,
            reservation=LocalReservation(machine, schedd),
        )
        for name, schedd in machine.schedds.items()
    ]
