"""A TMS agent that only answers: it takes assignments from its stream, and reports."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from benchmarks.load import DEADLINE, call_of
from ewms.wms.v1 import tms_service_pb2 as pb

__all__ = ["Agent", "an_agent"]

_TMS = "/ewms.wms.v1.TmsService"


class Agent:
    """An agent of one schedd."""

    def __init__(self, channel: grpc.aio.Channel, stream: Any) -> None:
        self._channel = channel
        self._stream = stream
        self._last_cluster = 0

    async def assigned(self) -> tuple[pb.WatchAssignmentsResponse, float]:
        """The next assignment, and the time at which it was here."""
        while True:
            body = await self._stream.read()
            arrival = time.time()
            response = pb.WatchAssignmentsResponse.FromString(body)
            if response.WhichOneof("assignment") != "lease":
                return response, arrival

    async def started(self) -> tuple[pb.StartAssignment, float]:
        """The next assignment, which must be a start."""
        response, arrival = await self.assigned()
        if not response.HasField("start"):
            raise AssertionError(f"not a start: {response.WhichOneof('assignment')}")
        return response.start, arrival

    async def submit(self, start: pb.StartAssignment) -> int:
        """Report a cluster of its own, and return its id."""
        self._last_cluster += 1
        report = pb.ReportCondorSubmitRequest(
            taskforce_uuid=start.taskforce.taskforce_uuid,
            attempt=start.attempt,
            cluster_id=self._last_cluster,
            n_workers=start.taskforce.n_workers,
            job_event_log_fpath="/var/log/2026-11-23.tms.jel",
        )
        report.submit_dict["executable"] = "/usr/bin/ewms-pilot"
        await self.report("ReportCondorSubmit", report)
        return self._last_cluster

    async def complete(self, start: pb.StartAssignment) -> None:
        """Report a cluster, and that all its workers have ended."""
        cluster_id = await self.submit(start)
        await self._completed(start.taskforce.taskforce_uuid, start.attempt, cluster_id)

    async def remove(self, start: pb.StartAssignment, cluster_id: int) -> None:
        """Take the order to stop, and report that the cluster is removed and gone."""
        response, _ = await self.assigned()
        uuid, attempt = start.taskforce.taskforce_uuid, response.stop.attempt
        removal = pb.ReportCondorRmRequest(
            taskforce_uuid=uuid, attempt=attempt, cluster_id=cluster_id
        )
        await self.report("ReportCondorRm", removal)
        await self._completed(uuid, attempt, cluster_id)

    async def report(self, method: str, request: Any) -> None:
        """Send a report."""
        await call_of(self._channel, f"{_TMS}/{method}")(
            request.SerializeToString(), timeout=DEADLINE
        )

    async def _completed(self, uuid: str, attempt: int, cluster_id: int) -> None:
        report = pb.ReportCondorCompleteRequest(
            taskforce_uuid=uuid, attempt=attempt, cluster_id=cluster_id
        )
        await self.report("ReportCondorComplete", report)


@asynccontextmanager
async def an_agent(channel: grpc.aio.Channel, schedd: str) -> AsyncIterator[Agent]:
    """Hold a schedd's stream of assignments for as long as the block runs."""
    watch: Any = channel.unary_stream(f"{_TMS}/WatchAssignments")
    request = pb.WatchAssignmentsRequest(schedd=schedd, agent_id="benchmarks")
    stream = watch(request.SerializeToString())
    await asyncio.wait_for(stream.read(), DEADLINE)
    try:
        yield Agent(channel, stream)
    finally:
        stream.cancel()
