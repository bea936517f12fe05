"""A TMS agent that does what a test says: it takes assignments from its stream, and reports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from wms_stack import PATIENCE, Wms

from ewms.wms.v1 import tms_service_pb2 as pb


class Agent:
    """One stream of assignments, read as they come, and the reports that answer them."""

    def __init__(self, wms: Wms, call: Any) -> None:
        self._wms = wms
        self._call = call
        self._arrived: asyncio.Queue[pb.WatchAssignmentsResponse] = asyncio.Queue()
        self._reading = asyncio.create_task(self._read())
        self._last_cluster = 0
        self.session = 0
        self.last_answer = pb.ReportCondorSubmitResponse()

    async def opened(self) -> None:
        """Wait for the lease. Raises what the stream ended with instead."""
        self.session = (await self.lease()).session

    async def next(self, kind: str) -> Any:
        """Return the next assignment, which must be of this kind: start, stop, hold, release."""
        message = await self._take()
        while message.WhichOneof("assignment") == "lease":
            message = await self._take()
        assert message.WhichOneof("assignment") == kind, message
        return getattr(message, kind)

    async def lease(self) -> pb.Lease:
        """Return the next lease, which must come before any assignment."""
        message = await self._take()
        assert message.WhichOneof("assignment") == "lease", message
        return message.lease

    async def start(self) -> pb.StartAssignment:
        """Return the next assignment, a start."""
        return await self.next("start")

    async def starts(self, number: int) -> list[pb.StartAssignment]:
        """Return the next assignments, so many starts."""
        return [await self.start() for _ in range(number)]

    async def stop(self) -> pb.StopAssignment:
        """Return the next assignment, a stop."""
        return await self.next("stop")

    def arrived(self) -> list[str]:
        """Return the kinds of what has come and was not taken yet, leases left out."""
        kinds = []
        while not self._arrived.empty():
            kinds.append(self._arrived.get_nowait().WhichOneof("assignment"))
        return [kind for kind in kinds if kind != "lease"]

    async def ended(self) -> grpc.aio.AioRpcError:
        """Wait for the stream's end and return its error."""
        async with asyncio.timeout(PATIENCE):
            await asyncio.wait([self._reading])
        error = self._reading.exception()
        assert isinstance(error, grpc.aio.AioRpcError)
        return error

    async def submitted(self, start: pb.StartAssignment, **fields: Any) -> int:
        """Report a cluster, by default one that nobody had before; return its id."""
        self._last_cluster += 1
        cluster_id = fields.pop("cluster_id", self.session * 1000 + self._last_cluster)
        given = {
            "taskforce_uuid": start.taskforce.taskforce_uuid,
            "attempt": start.attempt,
            "n_workers": start.taskforce.n_workers,
            "job_event_log_fpath": "/var/log/2026-11-23.tms.jel",
        }
        request = pb.ReportCondorSubmitRequest(cluster_id=cluster_id, **given | fields)
        self.last_answer = await self._wms.tms.ReportCondorSubmit(request)
        return cluster_id

    async def failed(
        self, start: pb.StartAssignment, error: str, *, is_refusal: bool = False
    ) -> bool:
        """Report a submission that failed; return whether that is stale."""
        request = pb.ReportCondorSubmitFailedRequest(
            taskforce_uuid=start.taskforce.taskforce_uuid,
            attempt=start.attempt,
            error=error,
            is_refusal=is_refusal,
        )
        return (await self._wms.tms.ReportCondorSubmitFailed(request)).is_stale

    async def removed(self, stop: pb.StopAssignment) -> bool:
        """Answer a stop: what it names is removed, or nothing runs here; whether it is stale."""
        request = pb.ReportCondorRmRequest(
            taskforce_uuid=stop.taskforce_uuid,
            attempt=stop.attempt,
            cluster_id=stop.cluster_id if stop.HasField("cluster_id") else None,
        )
        return (await self._wms.tms.ReportCondorRm(request)).is_stale

    async def not_removed(self, stop: pb.StopAssignment, error: str) -> bool:
        """Report a removal that failed; return whether that is stale."""
        request = pb.ReportCondorRmFailedRequest(
            taskforce_uuid=stop.taskforce_uuid,
            attempt=stop.attempt,
            cluster_id=stop.cluster_id if stop.HasField("cluster_id") else None,
            error=error,
        )
        return (await self._wms.tms.ReportCondorRmFailed(request)).is_stale

    async def completed(self, uuid: str, cluster_id: int, **fields: Any) -> bool:
        """Report that a cluster has left the queue; return whether that is stale."""
        request = pb.ReportCondorCompleteRequest(
            taskforce_uuid=uuid, cluster_id=cluster_id, attempt=fields.pop("attempt", 1), **fields
        )
        return (await self._wms.tms.ReportCondorComplete(request)).is_stale

    async def statuses(self, *updates: pb.StatusUpdate) -> list[int]:
        """Report statuses; return what became of each."""
        return list(
            (await self._wms.tms.ReportStatuses(pb.ReportStatusesRequest(updates=updates))).results
        )

    async def runs(self) -> tuple[pb.StartAssignment, int]:
        """Take a start and report its cluster; return both."""
        start = await self.start()
        return start, await self.submitted(start)

    async def stops(self) -> pb.StopAssignment:
        """Take a stop, remove the cluster and see it leave the queue; return the stop."""
        stop = await self.stop()
        await self.removed(stop)
        if stop.HasField("cluster_id"):
            await self.completed(stop.taskforce_uuid, stop.cluster_id, attempt=stop.attempt)
        return stop

    def leave(self) -> None:
        """End the stream."""
        self._call.cancel()

    async def _take(self) -> pb.WatchAssignmentsResponse:
        taking = asyncio.create_task(self._arrived.get())
        done, _ = await asyncio.wait(
            [taking, self._reading], timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED
        )
        if taking in done:
            return taking.result()
        taking.cancel()
        if done:
            self._reading.result()
        raise AssertionError("no assignment has come")

    async def _read(self) -> None:
        async for message in self._call:
            self._arrived.put_nowait(message)


def a_status(uuid: str, cluster_id: int, sequence: int, **statuses: int) -> pb.StatusUpdate:
    """A status report: HTCondor status -> workers, all of them tasking."""
    update = pb.StatusUpdate(
        taskforce_uuid=uuid, attempt=1, cluster_id=cluster_id, sequence=sequence
    )
    for status, number in statuses.items():
        update.compound_statuses[status].counts["Tasking"] = number
    return update


@asynccontextmanager
async def an_agent(wms: Wms, schedd: str = "osg", agent_id: str = "agent") -> AsyncIterator[Agent]:
    """Open an agent's stream for as long as the block runs."""
    call = wms.tms.WatchAssignments(pb.WatchAssignmentsRequest(schedd=schedd, agent_id=agent_id))
    agent = Agent(wms, call)
    try:
        await agent.opened()
        yield agent
    finally:
        agent.leave()
        await asyncio.wait([agent._reading])
