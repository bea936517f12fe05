"""Get and List: from a request to a page of messages, for the servicers.

All refuse with the errors of `domain.errors`: InvalidSubmission for a filter, an order, a token or
a mask that is none, NotFound for what is asked for by an id and is not there. A page ends early
where its messages would exceed 8 MiB, and then has its `next_page_token`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Protocol, TypeVar

from google.protobuf.message import Message

from ewms.wms.v1 import (
    task_directive_service_pb2,
    task_pb2,
    taskforce_pb2,
    taskforce_service_pb2,
    workflow_pb2,
    workflow_service_pb2,
)
from wms_grpc.api.read_masks import ReadMask, read_mask
from wms_grpc.domain.errors import InvalidSubmission, NotFound, Violation
from wms_grpc.domain.filters import (
    TASK_DIRECTIVES,
    TASKFORCES,
    WORKFLOWS,
    Filter,
    FilterError,
    FilterSchema,
    parse_filter,
)
from wms_grpc.domain.model import Phase, Taskforce, Workflow
from wms_grpc.domain.paging import (
    Order,
    Place,
    Query,
    number_of,
    page_size,
    page_token,
    parse_order,
    place_after,
)
from wms_grpc.storage import listing, messages
from wms_grpc.storage.listing import HistoryRow, Page, PageRequest
from wms_grpc.storage.store import Store
from wms_grpc.storage.summaries import Summary, summarize

__all__ = [
    "filter_of",
    "get_task_directive",
    "get_taskforce",
    "get_workflow",
    "list_task_directives",
    "list_taskforces",
    "list_workflow_history",
    "list_workflows",
]

_MAX_INT32: Final = 2**31 - 1

_T = TypeVar("_T")
_M = TypeVar("_M", bound=Message)


class _ListRequest(Protocol):
    @property
    def page_size(self) -> int: ...
    @property
    def page_token(self) -> str: ...
    @property
    def filter(self) -> str: ...
    @property
    def order_by(self) -> str: ...


@dataclass(frozen=True, slots=True)
class _Asked:
    """A list request, understood."""

    query: Query
    page: PageRequest


def filter_of(text: str, schema: FilterSchema) -> Filter:
    """Return the filter of a request's field `filter`.

    Raises InvalidSubmission that says what is wrong with it, and where.
    """
    try:
        return parse_filter(text, schema)
    except FilterError as error:
        raise InvalidSubmission([Violation("filter", str(error))]) from error


async def get_workflow(
    store: Store, request: workflow_service_pb2.GetWorkflowRequest
) -> workflow_service_pb2.GetWorkflowResponse:
    """Answer GetWorkflow."""
    mask = read_mask(request.read_mask, workflow_pb2.Workflow)
    workflow = await listing.read_workflow(store.db, request.workflow_id)
    if workflow is None:
        raise NotFound("workflow", request.workflow_id)
    (message,) = await _workflow_messages(store, [workflow], mask)
    return workflow_service_pb2.GetWorkflowResponse(workflow=message)


async def list_workflows(
    store: Store, request: workflow_service_pb2.ListWorkflowsRequest
) -> workflow_service_pb2.ListWorkflowsResponse:
    """Answer ListWorkflows."""
    mask = read_mask(request.read_mask, workflow_pb2.Workflow)
    asked = _asked("ListWorkflows", request, WORKFLOWS, ("create_time", "priority"))
    page = await listing.list_workflows(store.db, asked.page)
    found = _fitting(await _workflow_messages(store, page.items, mask))
    return workflow_service_pb2.ListWorkflowsResponse(
        workflows=found,
        next_page_token=_next_token(asked, page, len(found), lambda item: item.workflow_id),
    )


async def get_task_directive(
    store: Store, request: task_directive_service_pb2.GetTaskDirectiveRequest
) -> task_directive_service_pb2.GetTaskDirectiveResponse:
    """Answer GetTaskDirective."""
    mask = read_mask(request.read_mask, task_pb2.TaskDirective)
    directive = await listing.read_task_directive(store.db, request.task_id)
    if directive is None:
        raise NotFound("task directive", request.task_id)
    message = mask.applied(messages.task_directive_message(directive))
    return task_directive_service_pb2.GetTaskDirectiveResponse(task_directive=message)


async def list_task_directives(
    store: Store, request: task_directive_service_pb2.ListTaskDirectivesRequest
) -> task_directive_service_pb2.ListTaskDirectivesResponse:
    """Answer ListTaskDirectives."""
    mask = read_mask(request.read_mask, task_pb2.TaskDirective)
    asked = _asked("ListTaskDirectives", request, TASK_DIRECTIVES, ("create_time",))
    page = await listing.list_task_directives(store.db, asked.page)
    found = _fitting(mask.applied(messages.task_directive_message(item)) for item in page.items)
    return task_directive_service_pb2.ListTaskDirectivesResponse(
        task_directives=found,
        next_page_token=_next_token(asked, page, len(found), lambda item: item.task_id),
    )


async def get_taskforce(
    store: Store, request: taskforce_service_pb2.GetTaskforceRequest
) -> taskforce_service_pb2.GetTaskforceResponse:
    """Answer GetTaskforce."""
    mask = read_mask(request.read_mask, taskforce_pb2.Taskforce)
    taskforce = await listing.read_taskforce(store.db, request.taskforce_uuid)
    if taskforce is None:
        raise NotFound("taskforce", request.taskforce_uuid)
    (explained,) = await _explained(store, [taskforce])
    message = mask.applied(messages.taskforce_message(explained))
    return taskforce_service_pb2.GetTaskforceResponse(taskforce=message)


async def list_taskforces(
    store: Store, request: taskforce_service_pb2.ListTaskforcesRequest
) -> taskforce_service_pb2.ListTaskforcesResponse:
    """Answer ListTaskforces."""
    mask = read_mask(request.read_mask, taskforce_pb2.Taskforce)
    asked = _asked("ListTaskforces", request, TASKFORCES, ("create_time", "priority"))
    page = await listing.list_taskforces(store.db, asked.page)
    explained = await _explained(store, page.items)
    found = _fitting(mask.applied(messages.taskforce_message(item)) for item in explained)
    return taskforce_service_pb2.ListTaskforcesResponse(
        taskforces=found,
        next_page_token=_next_token(asked, page, len(found), lambda item: item.taskforce_uuid),
    )


async def list_workflow_history(
    store: Store, request: workflow_service_pb2.ListWorkflowHistoryRequest
) -> workflow_service_pb2.ListWorkflowHistoryResponse:
    """Answer ListWorkflowHistory."""
    size = page_size(request.page_size)
    query = Query("ListWorkflowHistory", request.workflow_id, Order("id"))
    after = place_after(query, request.page_token)
    page = await listing.list_history(
        store.db, request.workflow_id, after.number if after else 0, size
    )
    # Every workflow has a line from its submission on: only for none at all a second look is due.
    if not page.items and await listing.read_workflow(store.db, request.workflow_id) is None:
        raise NotFound("workflow", request.workflow_id)
    found = _fitting(_history_message(row) for row in page.items)
    is_last = len(found) == len(page.items) and not page.has_more
    return workflow_service_pb2.ListWorkflowHistoryResponse(
        entries=found,
        next_page_token="" if is_last else page_token(query, Place(page.items[len(found) - 1].id)),
    )


def _asked(
    rpc: str, request: _ListRequest, schema: FilterSchema, order_fields: Sequence[str]
) -> _Asked:
    size = page_size(request.page_size)
    wanted = filter_of(request.filter, schema)
    query = Query(rpc, wanted.canonical, parse_order(request.order_by, order_fields))
    after = place_after(query, request.page_token)
    return _Asked(query, PageRequest(wanted, query.order, after, size))


def _fitting(found: Iterable[_M]) -> list[_M]:
    """Return the messages up to the size of a page, and the first in any case."""
    fitting: list[_M] = []
    size = 0
    for message in found:
        size += message.ByteSize()
        if fitting and size > listing.PAGE_BYTES:
            break
        fitting.append(message)
    return fitting


def _next_token(asked: _Asked, page: Page[_T], n_sent: int, id_of: Callable[[_T], str]) -> str:
    if n_sent == len(page.items) and not page.has_more:
        return ""
    last = page.items[n_sent - 1]
    value = getattr(last, asked.query.order.field)
    number = number_of(value) if isinstance(value, datetime) else value
    return page_token(asked.query, Place(number, id_of(last)))


async def _workflow_messages(
    store: Store, workflows: Sequence[Workflow], mask: ReadMask
) -> list[workflow_pb2.Workflow]:
    found = [messages.workflow_message(workflow) for workflow in workflows]
    if mask.names("summary"):
        summaries = await summarize(store.db, [item.workflow_id for item in workflows])
        for workflow, message in zip(workflows, found, strict=True):
            summary = summaries.get(workflow.workflow_id, Summary())
            message.summary.CopyFrom(_summary_message(summary))
    return [mask.applied(message) for message in found]


def _summary_message(summary: Summary) -> workflow_pb2.WorkflowSummary:
    return workflow_pb2.WorkflowSummary(
        compound_statuses=messages.pilot_status_counts(
            {status: _int32s(pilots) for status, pilots in summary.compound_statuses.items()}
        ),
        top_task_errors=_int32s(summary.top_task_errors),
        n_workers_running=min(summary.n_workers_running, _MAX_INT32),
        n_workers_requested=min(summary.n_workers_requested, _MAX_INT32),
        n_workers_waiting=min(summary.n_workers_waiting, _MAX_INT32),
        taskforces_by_phase=summary.taskforces_by_phase,
    )


def _int32s(counts: Mapping[str, int]) -> dict[str, int]:
    """Return sums as the contract can hold them: a million workers a taskforce add up."""
    return {name: min(count, _MAX_INT32) for name, count in counts.items()}


async def _explained(store: Store, taskforces: Sequence[Taskforce]) -> list[Taskforce]:
    """Return the taskforces, those that wait for their launch with what their schedd reports."""
    waiting = {item.schedd for item in taskforces if _waits_for_room(item)}
    if not waiting:
        return list(taskforces)
    slots = await listing.read_free_slots(store.db, sorted(waiting))
    return [
        replace(item, waiting_reason=f"{item.waiting_reason}; {_capacity(item, slots)}")
        if _waits_for_room(item) and item.schedd in slots
        else item
        for item in taskforces
    ]


def _waits_for_room(taskforce: Taskforce) -> bool:
    return taskforce.phase is Phase.PRE_LAUNCH and bool(taskforce.waiting_reason)


def _capacity(taskforce: Taskforce, slots: Mapping[str, tuple[int, int]]) -> str:
    free, total = slots[taskforce.schedd]
    return f"{taskforce.cluster_location} reports {free} of {total} slots free"


def _history_message(row: HistoryRow) -> workflow_pb2.HistoryEntry:
    return workflow_pb2.HistoryEntry(
        time=messages.timestamp(row.time),
        revision=row.revision,
        kind=workflow_pb2.HistoryKind.Value(f"HISTORY_KIND_{row.kind}"),
        subject=row.subject,
        what=row.what,
        source=row.source,
        reason=row.reason,
        was_successful=row.was_successful,
        source_event_time=messages.timestamp(row.source_event_time),
    )
