"""The single questions to the WMS, one method each. Every one has a deadline; every mutation
carries a request id, so that a repeat, by the channel or by the caller, takes effect once. Errors
are those of `ewms_client.errors`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar
from uuid import uuid4

import grpc
from google.protobuf.field_mask_pb2 import FieldMask

from ewms.wms.v1 import planning_service_pb2 as planning_pb2
from ewms.wms.v1 import task_directive_service_pb2 as directives_pb2
from ewms.wms.v1 import task_pb2, taskforce_pb2, workflow_pb2
from ewms.wms.v1 import taskforce_service_pb2 as taskforces_pb2
from ewms.wms.v1 import workflow_service_pb2 as workflows_pb2
from ewms.wms.v1.planning_service_pb2_grpc import PlanningServiceStub
from ewms.wms.v1.task_directive_service_pb2_grpc import TaskDirectiveServiceStub
from ewms.wms.v1.taskforce_service_pb2_grpc import TaskforceServiceStub
from ewms.wms.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from ewms_client.channel import answer
from ewms_client.documents import Submission, read_submission
from ewms_client.paging import each_item

if TYPE_CHECKING:
    from ewms.wms.v1.planning_service_pb2_grpc import PlanningServiceAsyncStub
    from ewms.wms.v1.task_directive_service_pb2_grpc import TaskDirectiveServiceAsyncStub
    from ewms.wms.v1.taskforce_service_pb2_grpc import TaskforceServiceAsyncStub
    from ewms.wms.v1.workflow_service_pb2_grpc import WorkflowServiceAsyncStub

__all__ = ["WmsCalls"]

_Asked = TypeVar("_Asked", contravariant=True)
_Answer = TypeVar("_Answer", covariant=True)
_Request = TypeVar("_Request")
_Response = TypeVar("_Response")


class _Unary(Protocol[_Asked, _Answer]):
    def __call__(self, request: _Asked, *, timeout: float | None) -> Awaitable[_Answer]: ...


class WmsCalls:
    """The WMS behind a channel. `timeout`, in seconds, is the deadline of each call."""

    def __init__(self, channel: grpc.aio.Channel, timeout: float) -> None:
        self._timeout = timeout
        self._workflows: WorkflowServiceAsyncStub = WorkflowServiceStub(channel)
        self._directives: TaskDirectiveServiceAsyncStub = TaskDirectiveServiceStub(channel)
        self._taskforces: TaskforceServiceAsyncStub = TaskforceServiceStub(channel)
        self._planning: PlanningServiceAsyncStub = PlanningServiceStub(channel)

    async def submit(
        self, workflow: Submission, *, request_id: str | None = None, validate_only: bool = False
    ) -> workflows_pb2.SubmitWorkflowResponse:
        """Submit a workflow: a request, the same as a mapping, or the path of a JSON file.

        With `validate_only` every check is made and nothing is written. InvalidArgument names every
        bad field, whether it is found here or there.
        """
        request = read_submission(workflow)
        request.request_id = request_id or request.request_id or str(uuid4())
        request.validate_only = validate_only or request.validate_only
        return await self._call(self._workflows.SubmitWorkflow, request)

    async def translate(
        self,
        files: Mapping[str, bytes],
        main: str,
        *,
        language: str = "",
        to: str = "",
        cluster_location: str = "",
    ) -> planning_pb2.TranslateWorkflowResponse:
        """Make of a workflow in any language a request, and with `to` the same in another one.

        Without a request in the answer, its findings say what forbids it.
        """
        request = planning_pb2.TranslateWorkflowRequest(
            bundle=planning_pb2.Bundle(files=files, main=main),
            language=language,
            to=to,
            cluster_location=cluster_location,
        )
        return await self._call(self._planning.TranslateWorkflow, request)

    async def get_workflow(
        self, workflow_id: str, *, read_mask: Iterable[str] = ()
    ) -> workflow_pb2.Workflow:
        """One workflow, or those of its fields that `read_mask` names. NotFound."""
        request = workflows_pb2.GetWorkflowRequest(
            workflow_id=workflow_id, read_mask=_mask(read_mask)
        )
        return (await self._call(self._workflows.GetWorkflow, request)).workflow

    def list_workflows(
        self,
        filter: str = "",  # noqa: A002
        *,
        order_by: str = "",
        read_mask: Iterable[str] = (),
    ) -> AsyncIterator[workflow_pb2.Workflow]:
        """Every workflow that matches the filter (`state = ACTIVE AND priority > 50`)."""
        request = workflows_pb2.ListWorkflowsRequest(
            filter=filter, order_by=order_by, read_mask=_mask(read_mask)
        )
        return each_item(
            self._bound(self._workflows.ListWorkflows), request, lambda page: page.workflows
        )

    def history(self, workflow_id: str) -> AsyncIterator[workflow_pb2.HistoryEntry]:
        """Everything that happened to a workflow, oldest first. NotFound."""
        request = workflows_pb2.ListWorkflowHistoryRequest(workflow_id=workflow_id)
        return each_item(
            self._bound(self._workflows.ListWorkflowHistory), request, lambda page: page.entries
        )

    async def finish(
        self, workflow_id: str, *, reason: str = "", request_id: str | None = None
    ) -> workflows_pb2.FinishWorkflowResponse:
        """End a workflow whose results are there. FailedPrecondition if it has ended already."""
        request = workflows_pb2.FinishWorkflowRequest(
            workflow_id=workflow_id, reason=reason, request_id=request_id or str(uuid4())
        )
        return await self._call(self._workflows.FinishWorkflow, request)

    async def abort(
        self, workflow_id: str, *, reason: str = "", request_id: str | None = None
    ) -> workflows_pb2.AbortWorkflowResponse:
        """End a workflow that went wrong. FailedPrecondition if it has ended already."""
        request = workflows_pb2.AbortWorkflowRequest(
            workflow_id=workflow_id, reason=reason, request_id=request_id or str(uuid4())
        )
        return await self._call(self._workflows.AbortWorkflow, request)

    async def pause(
        self, workflow_id: str, *, hold_running: bool = False, request_id: str | None = None
    ) -> workflow_pb2.Workflow:
        """Launch nothing more; with `hold_running` also hold what runs. FailedPrecondition."""
        request = workflows_pb2.PauseWorkflowRequest(
            workflow_id=workflow_id,
            hold_running=hold_running,
            request_id=request_id or str(uuid4()),
        )
        return (await self._call(self._workflows.PauseWorkflow, request)).workflow

    async def resume(
        self, workflow_id: str, *, request_id: str | None = None
    ) -> workflow_pb2.Workflow:
        """Go on after a pause. FailedPrecondition if the workflow has ended."""
        request = workflows_pb2.ResumeWorkflowRequest(
            workflow_id=workflow_id, request_id=request_id or str(uuid4())
        )
        return (await self._call(self._workflows.ResumeWorkflow, request)).workflow

    async def update(
        self,
        workflow_id: str,
        *,
        priority: int | None = None,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        request_id: str | None = None,
    ) -> workflow_pb2.Workflow:
        """Change what is given. FailedPrecondition if the workflow has ended."""
        changes = {"priority": priority, "name": name, "labels": labels}
        request = workflows_pb2.UpdateWorkflowRequest(
            workflow=workflow_pb2.Workflow(
                workflow_id=workflow_id, priority=priority, name=name or "", labels=labels or {}
            ),
            update_mask=FieldMask(
                paths=[field for field, value in changes.items() if value is not None]
            ),
            request_id=request_id or str(uuid4()),
        )
        return (await self._call(self._workflows.UpdateWorkflow, request)).workflow

    async def get_task_directive(
        self, task_id: str, *, read_mask: Iterable[str] = ()
    ) -> task_pb2.TaskDirective:
        """One task directive. NotFound."""
        request = directives_pb2.GetTaskDirectiveRequest(
            task_id=task_id, read_mask=_mask(read_mask)
        )
        return (await self._call(self._directives.GetTaskDirective, request)).task_directive

    def list_task_directives(
        self,
        filter: str = "",  # noqa: A002
        *,
        order_by: str = "",
        read_mask: Iterable[str] = (),
    ) -> AsyncIterator[task_pb2.TaskDirective]:
        """Every task directive that matches the filter (`workflow_id = "WF-..."`)."""
        request = directives_pb2.ListTaskDirectivesRequest(
            filter=filter, order_by=order_by, read_mask=_mask(read_mask)
        )
        return each_item(
            self._bound(self._directives.ListTaskDirectives),
            request,
            lambda page: page.task_directives,
        )

    async def add_workers(
        self, task_id: str, cluster_location: str, n_workers: int, *, request_id: str | None = None
    ) -> taskforce_pb2.Taskforce:
        """One more taskforce of a task. FailedPrecondition if the workflow has ended."""
        request = directives_pb2.AddWorkersRequest(
            task_id=task_id,
            cluster_location=cluster_location,
            n_workers=n_workers,
            request_id=request_id or str(uuid4()),
        )
        return (await self._call(self._directives.AddWorkers, request)).taskforce

    async def get_taskforce(
        self, taskforce_uuid: str, *, read_mask: Iterable[str] = ()
    ) -> taskforce_pb2.Taskforce:
        """One taskforce. NotFound."""
        request = taskforces_pb2.GetTaskforceRequest(
            taskforce_uuid=taskforce_uuid, read_mask=_mask(read_mask)
        )
        return (await self._call(self._taskforces.GetTaskforce, request)).taskforce

    def list_taskforces(
        self,
        filter: str = "",  # noqa: A002
        *,
        order_by: str = "",
        read_mask: Iterable[str] = (),
    ) -> AsyncIterator[taskforce_pb2.Taskforce]:
        """Every taskforce that matches the filter (`phase = PENDING_STARTER`)."""
        request = taskforces_pb2.ListTaskforcesRequest(
            filter=filter, order_by=order_by, read_mask=_mask(read_mask)
        )
        return each_item(
            self._bound(self._taskforces.ListTaskforces), request, lambda page: page.taskforces
        )

    async def public_queues(self, workflow_id: str) -> Sequence[workflows_pb2.PublicQueue]:
        """The public queues with fresh tokens, in the order of the submission. NotFound."""
        request = workflows_pb2.ListPublicQueuesRequest(workflow_id=workflow_id)
        return (await self._call(self._workflows.ListPublicQueues, request)).queues

    async def signal(
        self, workflow_id: str, task: str, signal: str, *, request_id: str | None = None
    ) -> None:
        """Tell a task that waits for a signal that it has come; one that comes early is kept.

        Raises NotFound for a task that the workflow has not, FailedPrecondition if it waits for no
        such signal or the workflow has ended.
        """
        request = workflows_pb2.SignalTaskRequest(
            workflow_id=workflow_id, task=task, signal=signal, request_id=request_id or str(uuid4())
        )
        await self._call(self._workflows.SignalTask, request)

    async def close_queue(
        self, workflow_id: str, alias: str, *, request_id: str | None = None
    ) -> workflow_pb2.Queue:
        """Say that no more events are sent to a public queue. NotFound, FailedPrecondition."""
        request = workflows_pb2.CloseQueueRequest(
            workflow_id=workflow_id, alias=alias, request_id=request_id or str(uuid4())
        )
        return (await self._call(self._workflows.CloseQueue, request)).queue

    def dead_letters(self, workflow_id: str, alias: str) -> AsyncIterator[workflows_pb2.DeadLetter]:
        """The events that were delivered too often, oldest first. NotFound."""
        request = workflows_pb2.ListDeadLettersRequest(workflow_id=workflow_id, alias=alias)
        return each_item(
            self._bound(self._workflows.ListDeadLetters), request, lambda page: page.dead_letters
        )

    async def requeue(
        self,
        workflow_id: str,
        alias: str,
        dead_letter_ids: Iterable[str] = (),
        *,
        request_id: str | None = None,
    ) -> int:
        """Put dead letters back, these or all, and return how many.

        NotFound, FailedPrecondition.
        """
        request = workflows_pb2.RequeueDeadLettersRequest(
            workflow_id=workflow_id,
            alias=alias,
            dead_letter_ids=dead_letter_ids,
            request_id=request_id or str(uuid4()),
        )
        return (await self._call(self._workflows.RequeueDeadLetters, request)).n_requeued

    async def _call(self, method: _Unary[_Request, _Response], request: _Request) -> _Response:
        return await answer(method(request, timeout=self._timeout))

    def _bound(
        self, method: _Unary[_Request, _Response]
    ) -> Callable[[_Request], Awaitable[_Response]]:
        return lambda request: method(request, timeout=self._timeout)


def _mask(paths: Iterable[str]) -> FieldMask | None:
    named = list(paths)
    return FieldMask(paths=named) if named else None
