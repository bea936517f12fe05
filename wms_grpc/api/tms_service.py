"""TmsService: assignments for agents, and a place for their reports."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from ewms.wms.v1 import taskforce_pb2
from ewms.wms.v1 import tms_service_pb2 as pb
from ewms_rpc.context import CallContext
from wms_grpc.domain import reports as rules
from wms_grpc.domain.errors import NotFound
from wms_grpc.domain.model import Cause, Outcome
from wms_grpc.domain.submission import ClusterLocations
from wms_grpc.domain.topics import assign_topic
from wms_grpc.engine.assignments import AssignmentStream
from wms_grpc.engine.mqs import Mqs
from wms_grpc.engine.wakeups import Wakeups
from wms_grpc.storage import reports
from wms_grpc.storage.statuses import StatusReport, report_statuses
from wms_grpc.storage.store import Store

__all__ = ["TmsService"]


@dataclass(frozen=True, slots=True)
class TmsService:
    """The servicer."""

    store: Store
    mqs: Mqs
    wakeups: Wakeups
    locations: ClusterLocations
    lease: timedelta

    def WatchAssignments(
        self, request: pb.WatchAssignmentsRequest, context: CallContext
    ) -> AsyncIterator[pb.WatchAssignmentsResponse]:
        if request.schedd not in self.locations.schedds:
            raise NotFound("schedd", request.schedd)
        stream = AssignmentStream(
            self.store, self.mqs, self.wakeups, request.schedd, request.agent_id, self.lease
        )
        return aiter(stream)

    async def ReportCondorSubmit(
        self, request: pb.ReportCondorSubmitRequest, context: CallContext
    ) -> pb.ReportCondorSubmitResponse:
        report = rules.SubmitReport(
            request.cluster_id, dict(request.submit_dict), request.job_event_log_fpath
        )
        cause = Cause("tms", f"cluster {request.cluster_id}", _moment(request.submit_time))
        applied = await reports.apply_report(
            self.store,
            request.taskforce_uuid,
            lambda taskforce, now: rules.submitted(taskforce, report, cause, now),
        )
        if applied is None:
            schedd = await reports.stop_stray(
                self.store, request.taskforce_uuid, request.cluster_id, request.attempt
            )
            self.wakeups.wake([assign_topic(schedd)])
        return pb.ReportCondorSubmitResponse(is_stale=applied is None)

    async def ReportCondorSubmitFailed(
        self, request: pb.ReportCondorSubmitFailedRequest, context: CallContext
    ) -> pb.ReportCondorSubmitFailedResponse:
        cause = Cause("tms", request.error)
        applied = await reports.apply_report(
            self.store,
            request.taskforce_uuid,
            lambda taskforce, now: rules.submission_failed(
                taskforce, request.attempt, cause, now, is_refusal=request.is_refusal
            ),
        )
        return pb.ReportCondorSubmitFailedResponse(is_stale=applied is None)

    async def ReportCondorRm(
        self, request: pb.ReportCondorRmRequest, context: CallContext
    ) -> pb.ReportCondorRmResponse:
        cluster_id = request.cluster_id if request.HasField("cluster_id") else None
        cause = Cause("tms", "removed", _moment(request.rm_time))
        applied = await reports.apply_report(
            self.store,
            request.taskforce_uuid,
            lambda taskforce, now: rules.removed(
                taskforce, request.attempt, cluster_id, cause, now
            ),
        )
        if applied is None and cluster_id is not None:
            await reports.stray_ended(self.store, request.taskforce_uuid, cluster_id)
        return pb.ReportCondorRmResponse(is_stale=applied is None)

    async def ReportCondorRmFailed(
        self, request: pb.ReportCondorRmFailedRequest, context: CallContext
    ) -> pb.ReportCondorRmFailedResponse:
        cause = Cause("tms", request.error)
        applied = await reports.apply_report(
            self.store,
            request.taskforce_uuid,
            lambda taskforce, now: rules.removal_failed(taskforce, request.attempt, cause, now),
        )
        if applied is None and request.HasField("cluster_id"):
            await reports.stray_not_removed(self.store, request.taskforce_uuid, request.cluster_id)
        return pb.ReportCondorRmFailedResponse(is_stale=applied is None)

    async def ReportCondorComplete(
        self, request: pb.ReportCondorCompleteRequest, context: CallContext
    ) -> pb.ReportCondorCompleteResponse:
        at = _moment(request.condor_complete_time) or datetime.now(UTC)
        outcomes = tuple(_outcome(outcome) for outcome in request.outcomes)
        cause = Cause("tms", request.context, at)
        applied = await reports.apply_report(
            self.store,
            request.taskforce_uuid,
            lambda taskforce, now: rules.completed(
                taskforce, request.cluster_id, outcomes, at, cause, now
            ),
        )
        if applied is None:
            await reports.stray_ended(self.store, request.taskforce_uuid, request.cluster_id)
        return pb.ReportCondorCompleteResponse(is_stale=applied is None)

    async def ReportStatuses(
        self, request: pb.ReportStatusesRequest, context: CallContext
    ) -> pb.ReportStatusesResponse:
        sound = [update for update in request.updates if _is_sound(update)]
        results = iter(
            await report_statuses(self.store, [_status(update) for update in sound], "tms")
        )
        return pb.ReportStatusesResponse(
            results=[
                pb.StatusUpdateResult.Value(f"STATUS_UPDATE_RESULT_{next(results)}")
                if _is_sound(update)
                else pb.STATUS_UPDATE_RESULT_INVALID
                for update in request.updates
            ]
        )

    async def ReportCapacity(
        self, request: pb.ReportCapacityRequest, context: CallContext
    ) -> pb.ReportCapacityResponse:
        if request.schedd not in self.locations.schedds:
            raise NotFound("schedd", request.schedd)
        report = {
            field.name: getattr(request, field.name)
            for field in request.DESCRIPTOR.fields
            if field.name != "schedd"
        }
        await reports.record_capacity(self.store, request.schedd, report)
        return pb.ReportCapacityResponse()


def _moment(stamp: Timestamp) -> datetime | None:
    return stamp.ToDatetime(tzinfo=UTC) if stamp.ByteSize() else None


def _outcome(outcome: taskforce_pb2.WorkerOutcome) -> Outcome:
    match outcome.WhichOneof("result"):
        case "exit_code":
            return Outcome("exit_code", outcome.exit_code, outcome.count)
        case "signal":
            return Outcome("signal", outcome.signal, outcome.count)
        case "hold_code":
            return Outcome("hold_code", outcome.hold_code, outcome.count)
        case _:
            return Outcome("removed", 0, outcome.count)


def _is_sound(update: pb.StatusUpdate) -> bool:
    return (
        bool(update.taskforce_uuid)
        and update.sequence > 0
        and all(
            count >= 0
            for pilots in update.compound_statuses.values()
            for count in pilots.counts.values()
        )
        and all(count >= 0 for count in update.top_task_errors.values())
    )


def _status(update: pb.StatusUpdate) -> StatusReport:
    return StatusReport(
        taskforce_uuid=update.taskforce_uuid,
        cluster_id=update.cluster_id,
        sequence=update.sequence,
        compound_statuses={
            status: dict(pilots.counts) for status, pilots in update.compound_statuses.items()
        },
        top_task_errors=dict(
            sorted(update.top_task_errors.items(), key=lambda error: (-error[1], error[0]))[:10]
        ),
    )
