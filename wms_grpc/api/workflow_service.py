"""WorkflowService: submits, steers and watches workflows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ewms.wms.v1 import workflow_service_pb2 as pb
from ewms_rpc.context import CallContext
from wms_grpc.api import dead_letters, listing, public_queues, watch_feed
from wms_grpc.api.requests import request_key
from wms_grpc.api.submissions import submission_from, submit_response, submitted_before
from wms_grpc.api.updates import update_from
from wms_grpc.api.watch_workflow import watch_workflow
from wms_grpc.domain.ids import WorkflowId
from wms_grpc.domain.model import WorkflowState
from wms_grpc.domain.submission import ClusterLocations
from wms_grpc.domain.translation import translate
from wms_grpc.engine.activation import Activator
from wms_grpc.engine.feed import Feed
from wms_grpc.engine.mqs import Mqs
from wms_grpc.engine.queue_stats import QueueStatsRelay
from wms_grpc.storage import messages, steering
from wms_grpc.storage.store import Store
from wms_grpc.storage.submissions import insert_plan, messages_of
from wms_grpc.storage.work import Activation

__all__ = ["WorkflowService"]


@dataclass(frozen=True, slots=True)
class WorkflowService:
    """The servicer."""

    store: Store
    feed: Feed
    stats: QueueStatsRelay
    mqs: Mqs
    activator: Activator
    locations: ClusterLocations
    grace: timedelta

    async def SubmitWorkflow(
        self, request: pb.SubmitWorkflowRequest, context: CallContext
    ) -> pb.SubmitWorkflowResponse:
        key = request_key(request, context)
        plan = translate(
            submission_from(request, context.identity.name), self.locations, datetime.now(UTC)
        )
        submitted = messages_of(plan)
        if request.validate_only:
            return submit_response(submitted)
        is_claimed = self.activator.can_take and bool(plan.queues)
        if not await insert_plan(self.store, plan, submitted, key, is_claimed=is_claimed):
            return await submitted_before(self.store, key)
        if is_claimed:
            self.activator.offer(Activation.of(plan))
        return submit_response(submitted)

    async def GetWorkflow(
        self, request: pb.GetWorkflowRequest, context: CallContext
    ) -> pb.GetWorkflowResponse:
        return await listing.get_workflow(self.store, request)

    async def ListWorkflows(
        self, request: pb.ListWorkflowsRequest, context: CallContext
    ) -> pb.ListWorkflowsResponse:
        return await listing.list_workflows(self.store, request)

    async def ListWorkflowHistory(
        self, request: pb.ListWorkflowHistoryRequest, context: CallContext
    ) -> pb.ListWorkflowHistoryResponse:
        return await listing.list_workflow_history(self.store, request)

    async def AbortWorkflow(
        self, request: pb.AbortWorkflowRequest, context: CallContext
    ) -> pb.AbortWorkflowResponse:
        ended = await steering.end(
            self.store,
            WorkflowId(request.workflow_id),
            WorkflowState.ABORTED,
            request.reason,
            request_key(request, context),
        )
        return pb.AbortWorkflowResponse(
            workflow=messages.workflow_message(ended.workflow), n_taskforces=ended.n_taskforces
        )

    async def FinishWorkflow(
        self, request: pb.FinishWorkflowRequest, context: CallContext
    ) -> pb.FinishWorkflowResponse:
        ended = await steering.end(
            self.store,
            WorkflowId(request.workflow_id),
            WorkflowState.FINISHED,
            request.reason,
            request_key(request, context),
        )
        return pb.FinishWorkflowResponse(
            workflow=messages.workflow_message(ended.workflow), n_taskforces=ended.n_taskforces
        )

    async def UpdateWorkflow(
        self, request: pb.UpdateWorkflowRequest, context: CallContext
    ) -> pb.UpdateWorkflowResponse:
        workflow = await steering.update(
            self.store,
            WorkflowId(request.workflow.workflow_id),
            update_from(request),
            request_key(request, context),
        )
        return pb.UpdateWorkflowResponse(workflow=messages.workflow_message(workflow))

    async def PauseWorkflow(
        self, request: pb.PauseWorkflowRequest, context: CallContext
    ) -> pb.PauseWorkflowResponse:
        workflow = await steering.pause(
            self.store,
            WorkflowId(request.workflow_id),
            request_key(request, context),
            hold_running=request.hold_running,
        )
        return pb.PauseWorkflowResponse(workflow=messages.workflow_message(workflow))

    async def ResumeWorkflow(
        self, request: pb.ResumeWorkflowRequest, context: CallContext
    ) -> pb.ResumeWorkflowResponse:
        workflow = await steering.resume(
            self.store, WorkflowId(request.workflow_id), request_key(request, context)
        )
        return pb.ResumeWorkflowResponse(workflow=messages.workflow_message(workflow))

    def WatchWorkflow(
        self, request: pb.WatchWorkflowRequest, context: CallContext
    ) -> AsyncIterator[bytes]:
        return watch_workflow(self.feed, self.store, self.stats, request)

    def WatchWorkflows(
        self, request: pb.WatchWorkflowsRequest, context: CallContext
    ) -> AsyncIterator[bytes]:
        return watch_feed.watch_workflows(self.feed, self.store, request)

    async def ListPublicQueues(
        self, request: pb.ListPublicQueuesRequest, context: CallContext
    ) -> pb.ListPublicQueuesResponse:
        return await public_queues.list_public_queues(
            self.store, self.mqs, request, context.identity
        )

    async def CloseQueue(
        self, request: pb.CloseQueueRequest, context: CallContext
    ) -> pb.CloseQueueResponse:
        queue = await steering.close_queue(
            self.store,
            WorkflowId(request.workflow_id),
            request.alias,
            request_key(request, context),
            self.grace,
        )
        return pb.CloseQueueResponse(queue=messages.queue_message(queue))

    async def SignalTask(
        self, request: pb.SignalTaskRequest, context: CallContext
    ) -> pb.SignalTaskResponse:
        await steering.signal_task(
            self.store,
            WorkflowId(request.workflow_id),
            request.task,
            request.signal,
            request_key(request, context),
        )
        return pb.SignalTaskResponse()

    async def ListDeadLetters(
        self, request: pb.ListDeadLettersRequest, context: CallContext
    ) -> pb.ListDeadLettersResponse:
        return await dead_letters.list_dead_letters(self.store, self.mqs, request)

    async def RequeueDeadLetters(
        self, request: pb.RequeueDeadLettersRequest, context: CallContext
    ) -> pb.RequeueDeadLettersResponse:
        return await dead_letters.requeue_dead_letters(self.store, self.mqs, request)
