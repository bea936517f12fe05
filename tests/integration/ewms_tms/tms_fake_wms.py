"""A WMS in memory, on a real socket: hands out assignments, and records every report.

It keeps the TmsService's contract as far as an agent sees it: one agent a schedd, leases renewed
on the stream, the first cluster of a taskforce wins, a stop for every other one.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from ewms.wms.v1 import tms_service_pb2 as tms
from ewms.wms.v1 import tms_service_pb2_grpc

Response = tms.WatchAssignmentsResponse


class FakeWms(tms_service_pb2_grpc.TmsServiceServicer):
    """One WMS. `refuse` answers the named RPCs with UNAVAILABLE while it holds their names."""

    def __init__(self, ttl: float = 30.0) -> None:
        self.ttl = ttl
        self.address = ""
        self.refuse: set[str] = set()
        self.refused: Counter[str] = Counter()
        self.does_renew = True
        self.reports: list[Any] = []
        self.clusters: dict[str, int] = {}
        self.statuses: dict[str, dict[str, dict[str, int]]] = {}
        self.errors: dict[str, dict[str, int]] = {}
        self.sequences: dict[str, int] = {}
        self.completed: dict[str, tms.ReportCondorCompleteRequest] = {}
        self.capacity: dict[str, tms.ReportCapacityRequest] = {}
        self.leased: list[tuple[str, str, int]] = []
        self._sessions = itertools.count(1)
        self._streams: dict[str, asyncio.Queue[Response | None]] = {}
        self._changed = asyncio.Condition()
        self._server: grpc.aio.Server | None = None
        self._attempts: defaultdict[str, int] = defaultdict(int)

    async def open(self, address: str = "127.0.0.1:0") -> None:
        self._server = grpc.aio.server()
        tms_service_pb2_grpc.add_TmsServiceServicer_to_server(self, self._server)
        port = self._server.add_insecure_port(address)
        self.address = f"127.0.0.1:{port}"
        await self._server.start()

    async def close(self) -> None:
        if self._server is not None:
            await self._server.stop(0)
            self._server = None

    async def until(self, holds: Callable[[], Any], seconds: float = 20.0) -> None:
        """Wait until something that a report changes holds."""
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(holds)

    def of_kind(self, kind: type) -> list[Any]:
        return [report for report in self.reports if isinstance(report, kind)]

    def is_done(self, *taskforces: str) -> bool:
        return all(taskforce in self.completed for taskforce in taskforces)

    def is_watched(self, schedd: str) -> bool:
        return schedd in self._streams

    async def push(self, schedd: str, message: Response) -> None:
        await self.until(lambda: schedd in self._streams)
        self._streams[schedd].put_nowait(message)

    async def start(self, start: tms.StartAssignment, schedd: str = "local") -> int:
        """Push a start, under the taskforce's next attempt."""
        uuid = start.taskforce.taskforce_uuid
        self._attempts[uuid] += 1
        start.attempt = self._attempts[uuid]
        await self.push(schedd, Response(start=start))
        return start.attempt

    async def stop(self, uuid: str, cluster_id: int | None = None, schedd: str = "local") -> None:
        stop = tms.StopAssignment(
            taskforce_uuid=uuid, attempt=self._attempts[uuid], reason="finished by the user"
        )
        if cluster_id is not None:
            stop.cluster_id = cluster_id
        await self.push(schedd, Response(stop=stop))

    async def end_streams(self) -> None:
        for stream in self._streams.values():
            stream.put_nowait(None)

    async def _record(self, name: str, request: Any, context: Any) -> None:
        if name in self.refuse:
            self.refused[name] += 1
            await self._wake()
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        self.reports.append(request)

    async def _wake(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def WatchAssignments(self, request: Any, context: Any) -> AsyncIterator[Response]:
        if "WatchAssignments" in self.refuse:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        session = next(self._sessions)
        stream = self._streams[request.schedd] = asyncio.Queue()
        is_leased = False
        self.leased.append((request.schedd, request.agent_id, session))
        await self._wake()
        try:
            while True:
                if self.does_renew or not is_leased:
                    is_leased = True
                    lease = tms.Lease(session=session)
                    lease.ttl.FromMilliseconds(int(self.ttl * 1000))
                    yield Response(lease=lease)
                try:
                    async with asyncio.timeout(self.ttl / 3):
                        message = await stream.get()
                except TimeoutError:
                    continue
                if message is None:
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "going away")
                yield message
        finally:
            if self._streams.get(request.schedd) is stream:
                del self._streams[request.schedd]
                await self._wake()

    async def ReportCondorSubmit(self, request: Any, context: Any) -> Any:
        await self._record("ReportCondorSubmit", request, context)
        first = self.clusters.setdefault(request.taskforce_uuid, request.cluster_id)
        is_stale = first != request.cluster_id
        if is_stale:
            await self.stop(request.taskforce_uuid, request.cluster_id)
        await self._wake()
        return tms.ReportCondorSubmitResponse(is_stale=is_stale)

    async def ReportCondorSubmitFailed(self, request: Any, context: Any) -> Any:
        await self._record("ReportCondorSubmitFailed", request, context)
        await self._wake()
        return tms.ReportCondorSubmitFailedResponse()

    async def ReportCondorRm(self, request: Any, context: Any) -> Any:
        await self._record("ReportCondorRm", request, context)
        await self._wake()
        return tms.ReportCondorRmResponse()

    async def ReportCondorRmFailed(self, request: Any, context: Any) -> Any:
        await self._record("ReportCondorRmFailed", request, context)
        await self._wake()
        return tms.ReportCondorRmFailedResponse()

    async def ReportCondorComplete(self, request: Any, context: Any) -> Any:
        await self._record("ReportCondorComplete", request, context)
        if self.clusters.get(request.taskforce_uuid, request.cluster_id) == request.cluster_id:
            self.completed[request.taskforce_uuid] = request
        await self._wake()
        return tms.ReportCondorCompleteResponse()

    async def ReportStatuses(self, request: Any, context: Any) -> Any:
        await self._record("ReportStatuses", request, context)
        results = [self._take_update(update) for update in request.updates]
        await self._wake()
        return tms.ReportStatusesResponse(results=results)

    def _take_update(self, update: tms.StatusUpdate) -> Any:
        uuid = update.taskforce_uuid
        if self.clusters.get(uuid) != update.cluster_id:
            return tms.STATUS_UPDATE_RESULT_STALE
        if update.sequence <= self.sequences.get(uuid, 0):
            return tms.STATUS_UPDATE_RESULT_STALE
        self.sequences[uuid] = update.sequence
        self.statuses[uuid] = {
            job: dict(pilots.counts) for job, pilots in update.compound_statuses.items()
        }
        self.errors[uuid] = dict(update.top_task_errors)
        return tms.STATUS_UPDATE_RESULT_UPDATED

    async def ReportCapacity(self, request: Any, context: Any) -> Any:
        await self._record("ReportCapacity", request, context)
        self.capacity[request.schedd] = request
        await self._wake()
        return tms.ReportCapacityResponse()
