"""The reports that an agent owes the WMS, each tried until it is answered.

Guarantees that a report is given up only when its own words are wrong: a WMS that is away, or that
does not know us yet, is asked again, for ever, with waits that grow. Every report may be repeated.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Protocol, TypeVar

import grpc
import structlog
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from ewms.wms.v1 import taskforce_pb2, tms_service_pb2, tms_service_pb2_grpc
from ewms_rpc.backoff import Backoff
from ewms_rpc.channel import DEADLINE
from ewms_rpc.errors import InvalidArgument, NotFound, from_rpc_error
from ewms_tms.grid import Capacity, Cluster, TaskforceUuid
from ewms_tms.job_events import ClusterId
from ewms_tms.metrics import note_report
from ewms_tms.statuses import ClusterStatus, Outcomes

__all__ = ["Reports"]

_Request = TypeVar("_Request", bound=Message)
_Response = TypeVar("_Response", bound=Message)
_MAX_ERROR_LENGTH = 16_000
_MAX_OUTCOMES = 1_000
_LONGEST_WAIT_SECONDS = 10.0

log = structlog.get_logger(__name__)


class _Call(Protocol[_Request, _Response]):
    def __call__(
        self, request: _Request, *, timeout: float
    ) -> grpc.aio.UnaryUnaryCall[_Request, _Response]: ...


class Reports:
    """Tells the WMS, over one channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = tms_service_pb2_grpc.TmsServiceStub(channel)

    async def submitted(self, cluster: Cluster, description: Mapping[str, str]) -> None:
        """A cluster is in the queue."""
        request = tms_service_pb2.ReportCondorSubmitRequest(
            taskforce_uuid=cluster.taskforce,
            attempt=cluster.attempt,
            cluster_id=cluster.cluster_id,
            n_workers=cluster.n_workers,
            submit_dict=description,
            job_event_log_fpath=cluster.log_path,
            submit_time=_timestamp(cluster.submit_time),
        )
        answer = await self._tell(self._stub.ReportCondorSubmit, request)
        if answer is not None and answer.is_stale:
            log.info("cluster not wanted", taskforce=cluster.taskforce, cluster=cluster.cluster_id)

    async def submission_failed(
        self, taskforce: TaskforceUuid, attempt: int, error: str, *, is_refusal: bool
    ) -> None:
        """Nothing was submitted under this attempt."""
        request = tms_service_pb2.ReportCondorSubmitFailedRequest(
            taskforce_uuid=taskforce,
            attempt=attempt,
            error=error[:_MAX_ERROR_LENGTH] or "no reason given",
            is_refusal=is_refusal,
        )
        await self._tell(self._stub.ReportCondorSubmitFailed, request)

    async def removed(
        self, taskforce: TaskforceUuid, attempt: int, cluster_id: ClusterId | None
    ) -> None:
        """A cluster is being removed; without one, there is nothing of the taskforce."""
        request = tms_service_pb2.ReportCondorRmRequest(
            taskforce_uuid=taskforce,
            attempt=attempt,
            cluster_id=cluster_id,
            rm_time=_timestamp(datetime.now(UTC)),
        )
        await self._tell(self._stub.ReportCondorRm, request)

    async def removal_failed(
        self, taskforce: TaskforceUuid, attempt: int, cluster_id: ClusterId, error: str
    ) -> None:
        """A cluster may still be there; the WMS asks again."""
        request = tms_service_pb2.ReportCondorRmFailedRequest(
            taskforce_uuid=taskforce,
            attempt=attempt,
            cluster_id=cluster_id,
            error=error[:_MAX_ERROR_LENGTH] or "no reason given",
        )
        await self._tell(self._stub.ReportCondorRmFailed, request)

    async def completed(self, status: ClusterStatus) -> None:
        """A cluster has left the queue."""
        cluster = status.cluster
        request = tms_service_pb2.ReportCondorCompleteRequest(
            taskforce_uuid=cluster.taskforce,
            attempt=cluster.attempt,
            cluster_id=cluster.cluster_id,
            condor_complete_time=_timestamp(status.complete_time or datetime.now(UTC)),
            outcomes=_worker_outcomes(status.outcomes()),
        )
        await self._tell(self._stub.ReportCondorComplete, request)

    async def lost(self, taskforce: TaskforceUuid, attempt: int, cluster_id: ClusterId) -> None:
        """A cluster that the WMS knows is in neither queue nor log."""
        request = tms_service_pb2.ReportCondorCompleteRequest(
            taskforce_uuid=taskforce,
            attempt=attempt,
            cluster_id=cluster_id,
            condor_complete_time=_timestamp(datetime.now(UTC)),
            context="lost",
        )
        await self._tell(self._stub.ReportCondorComplete, request)

    async def statuses(
        self, updates: list[tms_service_pb2.StatusUpdate]
    ) -> list[tms_service_pb2.StatusUpdateResult.ValueType]:
        """Statuses of clusters; a result for each, or none if the WMS refused them all."""
        request = tms_service_pb2.ReportStatusesRequest(updates=updates)
        answer = await self._tell(self._stub.ReportStatuses, request)
        return list(answer.results) if answer is not None else []

    async def capacity(self, schedd: str, capacity: Capacity) -> None:
        """What room there is."""
        request = tms_service_pb2.ReportCapacityRequest(
            schedd=schedd,
            total_slots=capacity.total_slots,
            free_slots=capacity.free_slots,
            total_cores=capacity.total_cores,
            free_cores=capacity.free_cores,
            total_memory_bytes=capacity.total_memory_bytes,
            free_memory_bytes=capacity.free_memory_bytes,
            n_idle_workers=capacity.n_idle_workers,
            n_running_workers=capacity.n_running_workers,
        )
        await self._tell(self._stub.ReportCapacity, request)

    async def _tell(self, call: _Call[_Request, _Response], request: _Request) -> _Response | None:
        """The answer; None when the WMS says that the report itself can never be taken."""
        backoff = Backoff(limit=_LONGEST_WAIT_SECONDS)
        name = request.DESCRIPTOR.name
        while True:
            try:
                answer = await call(request, timeout=DEADLINE)
            except grpc.RpcError as error:
                typed = from_rpc_error(error)
                note_report(name.removesuffix("Request"), typed.code.name)
            else:
                note_report(name.removesuffix("Request"), "OK")
                return answer
            if isinstance(typed, InvalidArgument | NotFound):
                log.error("report refused", report=name, error=typed.message)
                return None
            log.warning("report not taken", report=name, code=typed.code.name, error=typed.message)
            await backoff.wait(typed.retry_after)


def _worker_outcomes(outcomes: Outcomes) -> list[taskforce_pb2.WorkerOutcome]:
    made = [
        *(
            taskforce_pb2.WorkerOutcome(exit_code=code, count=count)
            for code, count in sorted(outcomes.exit_codes.items())
        ),
        *(
            taskforce_pb2.WorkerOutcome(signal=number, count=count)
            for number, count in sorted(outcomes.signals.items())
        ),
        *(
            taskforce_pb2.WorkerOutcome(hold_code=code, count=count)
            for code, count in sorted(outcomes.hold_codes.items())
        ),
    ]
    if outcomes.n_removed:
        made.append(taskforce_pb2.WorkerOutcome(removed=True, count=outcomes.n_removed))
    return made[:_MAX_OUTCOMES]


def _timestamp(moment: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp
