"""TmsService: assignments for agents, and a place for their reports."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from ewms.wms.v1 import taskforce_pb2
from ewms.wms.v1 import tms_service_pb2 as pb
from ewms_rpc.context import CallContext
from wms_grpc.api.status_updates import results_message, status_report
from wms_grpc.domain import reports as rules
from wms_grpc.domain.errors import InvalidSubmission, NotFound, Violation
from wms_grpc.domain.model import Cause, Outcome, Taskforce
from wms_grpc.domain.submission import ClusterLocations
from wms_grpc.domain.topics import assign_topic
from wms_grpc.engine.assignments import AssignmentStream
from wms_grpc.engine.pilot_tokens import PilotTokens
from wms_grpc.engine.wakeups import Wakeups
from wms_grpc.storage import reports
from wms_grpc.storage.statuses import report_statuses
from wms_grpc.storage.store import Store

__all__ = ["TmsService"]


@dataclass(frozen=True, slots=True)
class TmsService:
    """The servicer."""

    store: Store
    mqs_address: str
    tokens: PilotTokens
    wakeups: Wakeups
    locations: ClusterLocations
    lease: timedelta

    def WatchAssignments(
        self, request: pb.WatchAssignmentsRequest, context: CallContext
    ) -> AsyncIterator[pb.WatchAssignmentsResponse]:
        if request.schedd not in self.locations.schedds:
            raise NotFound("schedd", request.schedd)
        stream = AssignmentStream(
            self.store,
            self.mqs_address,
            self.tokens,
            self.wakeups,
            request.schedd,
            request.agent_id,
            self.lease,
        )
        return aiter(stream)

    async def ReportCondorSubmit(
        self, request: pb.ReportCondorSubmitRequest, context: CallContext
    ) -> pb.ReportCondorSubmitResponse:
        report = rules.SubmitReport(
            request.cluster_id, dict(request.submit_dict), request.job_event_log_fpath
        )
        cluster = f"cluster {request.cluster_id}"
        at = _moment(request.submit_time, "submit_time")
        applied = await reports.apply_report(
            self.store,
            request.taskforce_uuid,
            lambda taskforce, now: rules.submitted(
                taskforce, report, _cause(taskforce, cluster, at), now
            ),
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
        applied = await reports.apply_report(
            self.store,
            request.taskforce_uuid,
            lambda taskforce, now: rules.submission_failed(
                taskforce,
                request.attempt,
                _cause(taskforce, request.error),
                now,
                is_refusal=request.is_refusal,
            ),
        )
        return pb.ReportCondorSubmitFailedResponse(is_stale=applied is None)

    async def ReportCondorRm(
        self, request: pb.ReportCondorRmRequest, context: CallContext
    ) -> pb.ReportCondorRmResponse:
        cluster_id = request.cluster_id if request.HasField("cluster_id") else None
        at = _moment(request.rm_time, "rm_time")
        applied = await reports.apply_report(
            self.store,
            request.taskforce_uuid,
            lambda taskforce, now: rules.removed(
                taskforce, request.attempt, cluster_id, _cause(taskforce, "removed", at), now
            ),
        )
        if applied is None and cluster_id is not None:
            await reports.stray_ended(self.store, request.taskforce_uuid, cluster_id)
        return pb.ReportCondorRmResponse(is_stale=applied is None)

    async def ReportCondorRmFailed(
        self, request: pb.ReportCondorRmFailedRequest, context: CallContext
    ) -> pb.ReportCondorRmFailedResponse:
        applied = await reports.apply_report(
            self.store,
            request.taskforce_uuid,
            lambda taskforce, now: rules.removal_failed(
                taskforce, request.attempt, _cause(taskforce, request.error), now
            ),
        )
        if applied is None and request.HasField("cluster_id"):
            await reports.stray_not_removed(self.store, request.taskforce_uuid, request.cluster_id)
        return pb.ReportCondorRmFailedResponse(is_stale=applied is None)

    async def ReportCondorComplete(
        self, request: pb.ReportCondorCompleteRequest, context: CallContext
    ) -> pb.ReportCondorCompleteResponse:
        at = _moment(request.condor_complete_time, "condor_complete_time") or datetime.now(UTC)
        outcomes = tuple(_outcome(outcome) for outcome in request.outcomes)
        applied = await reports.apply_report(
            self.store,
            request.taskforce_uuid,
            lambda taskforce, now: rules.completed(
                taskforce,
                request.cluster_id,
                outcomes,
                at,
                _cause(taskforce, request.context, at),
                now,
            ),
        )
        if applied is None:
            await reports.stray_ended(self.store, request.taskforce_uuid, request.cluster_id)
        return pb.ReportCondorCompleteResponse(is_stale=applied is None)

    async def ReportStatuses(
        self, request: pb.ReportStatusesRequest, context: CallContext
    ) -> pb.ReportStatusesResponse:
        updates = [status_report(update) for update in request.updates]
        results = await report_statuses(self.store, [one for one in updates if one is not None])
        return results_message(updates, results)

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


def _cause(taskforce: Taskforce, context: str, at: datetime | None = None) -> Cause:
    return Cause(f"tms {taskforce.schedd}", context, at)


def _moment(stamp: Timestamp, path: str) -> datetime | None:
    if not stamp.ByteSize():
        return None
    try:
        return stamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidSubmission([Violation(path, "must lie in the years 1 to 9999")]) from None


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
