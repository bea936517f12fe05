"""A WMS for one agent that keeps nothing: it hands out what it is given, and counts the reports.

It keeps the contract as far as a TMS sees it: a lease on the stream, and never more than so many
assignments unanswered.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import grpc

from benchmarks.load import DEADLINE
from ewms.wms.v1 import tms_service_pb2 as pb
from ewms.wms.v1 import tms_service_pb2_grpc
from wms_grpc.storage.agents import MOST_UNANSWERED

__all__ = ["ScriptedWms", "scripted_wms"]

_LEASE_SECONDS = 3600


class ScriptedWms(tms_service_pb2_grpc.TmsServiceServicer):
    """Hands out assignments. `address` is where it serves."""

    def __init__(self) -> None:
        self.address = ""
        self._waiting: deque[pb.WatchAssignmentsResponse] = deque()
        self._unanswered: set[str] = set()
        self._n_left = 0
        self._changed = asyncio.Event()
        self._is_done = asyncio.Event()
        self._refusal = ""

    async def start(self, starts: Iterable[pb.StartAssignment]) -> dict[str, int]:
        """Have them started; return their clusters, by taskforce, once all are submitted."""
        self.clusters: dict[str, int] = {}
        await self._hand_out([pb.WatchAssignmentsResponse(start=start) for start in starts])
        return self.clusters

    async def stop(self, clusters: dict[str, int]) -> None:
        """Have them stopped; return once all have left the queue."""
        stops = [
            pb.StopAssignment(taskforce_uuid=uuid, attempt=1, cluster_id=cluster, reason="over")
            for uuid, cluster in clusters.items()
        ]
        await self._hand_out([pb.WatchAssignmentsResponse(stop=stop) for stop in stops])

    async def _hand_out(self, assignments: list[pb.WatchAssignmentsResponse]) -> None:
        self._waiting.extend(assignments)
        self._n_left = len(assignments)
        self._is_done.clear()
        self._changed.set()
        async with asyncio.timeout(DEADLINE):
            await self._is_done.wait()
        if self._refusal:
            raise AssertionError(self._refusal)

    async def WatchAssignments(
        self, _request: Any, _context: Any
    ) -> AsyncIterator[pb.WatchAssignmentsResponse]:
        lease = pb.Lease(session=1)
        lease.ttl.FromSeconds(_LEASE_SECONDS)
        yield pb.WatchAssignmentsResponse(lease=lease)
        while True:
            self._changed.clear()
            while self._waiting and len(self._unanswered) < MOST_UNANSWERED:
                response = self._waiting.popleft()
                self._unanswered.add(response.start.taskforce.taskforce_uuid)
                self._unanswered.add(response.stop.taskforce_uuid)
                self._unanswered.discard("")
                yield response
            await self._changed.wait()

    def _answered(self, uuid: str) -> None:
        self._unanswered.discard(uuid)
        self._changed.set()

    def _one_is_over(self) -> None:
        self._n_left -= 1
        if self._n_left <= 0:
            self._is_done.set()

    async def ReportCondorSubmit(
        self, request: pb.ReportCondorSubmitRequest, _context: Any
    ) -> pb.ReportCondorSubmitResponse:
        self.clusters[request.taskforce_uuid] = request.cluster_id
        self._answered(request.taskforce_uuid)
        self._one_is_over()
        return pb.ReportCondorSubmitResponse()

    async def ReportCondorSubmitFailed(
        self, request: pb.ReportCondorSubmitFailedRequest, _context: Any
    ) -> pb.ReportCondorSubmitFailedResponse:
        self._refusal = request.error
        self._is_done.set()
        return pb.ReportCondorSubmitFailedResponse()

    async def ReportCondorRm(
        self, request: pb.ReportCondorRmRequest, _context: Any
    ) -> pb.ReportCondorRmResponse:
        self._answered(request.taskforce_uuid)
        return pb.ReportCondorRmResponse()

    async def ReportCondorRmFailed(
        self, request: pb.ReportCondorRmFailedRequest, _context: Any
    ) -> pb.ReportCondorRmFailedResponse:
        self._refusal = request.error
        self._is_done.set()
        return pb.ReportCondorRmFailedResponse()

    async def ReportCondorComplete(
        self, _request: Any, _context: Any
    ) -> pb.ReportCondorCompleteResponse:
        self._one_is_over()
        return pb.ReportCondorCompleteResponse()

    async def ReportStatuses(
        self, request: pb.ReportStatusesRequest, _context: Any
    ) -> pb.ReportStatusesResponse:
        taken = [pb.STATUS_UPDATE_RESULT_UPDATED] * len(request.updates)
        return pb.ReportStatusesResponse(results=taken)

    async def ReportCapacity(self, _request: Any, _context: Any) -> pb.ReportCapacityResponse:
        return pb.ReportCapacityResponse()


@asynccontextmanager
async def scripted_wms() -> AsyncIterator[ScriptedWms]:
    """Serve one, on the loopback."""
    wms, server = ScriptedWms(), grpc.aio.server()
    tms_service_pb2_grpc.add_TmsServiceServicer_to_server(wms, server)
    wms.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield wms
    finally:
        await server.stop(0)
