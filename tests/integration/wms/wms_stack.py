"""A real WMS on a real socket and a real database, the real MQS beside it, and who calls them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import grpc

from ewms.wms.v1 import (
    task_directive_service_pb2,
    task_pb2,
    taskforce_pb2,
    taskforce_service_pb2,
    watch_pb2,
    workflow_pb2,
    workflow_service_pb2,
)
from ewms.wms.v1.task_directive_service_pb2_grpc import TaskDirectiveServiceStub
from ewms.wms.v1.taskforce_service_pb2_grpc import TaskforceServiceStub
from ewms.wms.v1.tms_service_pb2_grpc import TmsServiceStub
from ewms.wms.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from ewms_mqs.config import MqsSettings
from ewms_mqs.server import mqs_server
from ewms_postgres.statements import statement
from ewms_rpc.channel import open_channel
from ewms_rpc.errors import InvalidArgument, RpcError, from_rpc_error
from wms_grpc.config import WmsSettings
from wms_grpc.server import WmsServer, wms_server

if TYPE_CHECKING:
    from ewms.wms.v1.task_directive_service_pb2_grpc import TaskDirectiveServiceAsyncStub
    from ewms.wms.v1.taskforce_service_pb2_grpc import TaskforceServiceAsyncStub
    from ewms.wms.v1.tms_service_pb2_grpc import TmsServiceAsyncStub
    from ewms.wms.v1.workflow_service_pb2_grpc import WorkflowServiceAsyncStub

T = TypeVar("T")

Phase = taskforce_pb2.TaskforcePhase
State = workflow_pb2.WorkflowState

PATIENCE = 20.0
"""Seconds after which what a test waits for is taken for lost."""

NOBODY = "127.0.0.1:1"
"""An address where no MQS is."""

_TABLES = ("workflow", "task_directive", "taskforce", "queue", "request", "feed", "history")
_COUNT_ROWS = statement(
    "SELECT " + ", ".join(f"(SELECT count(*) FROM wms.{table}) AS {table}" for table in _TABLES)
)


def a_task(**fields: Any) -> task_pb2.TaskSpec:
    """A task that copies `input` to `output` on `osg`, with one worker."""
    given: dict[str, Any] = {
        "cluster_locations": ["osg"],
        "input_queue_aliases": ["input"],
        "output_queue_aliases": ["output"],
        "task_image": "image",
        "task_args": "cp {{INFILE}} {{OUTFILE}}",
        "n_workers": 1,
    }
    return task_pb2.TaskSpec(**given | fields)


def a_request(
    *tasks: task_pb2.TaskSpec, public: str = "input output", **fields: Any
) -> workflow_service_pb2.SubmitWorkflowRequest:
    """A submission of these tasks; without any, of the one that copies."""
    return workflow_service_pb2.SubmitWorkflowRequest(
        public_queue_aliases=public.split(), tasks=tasks or (a_task(),), **fields
    )


@dataclass
class View:
    """A workflow and all that belongs to it, as a watch tells of it."""

    workflow: workflow_pb2.Workflow = field(default_factory=workflow_pb2.Workflow)
    tasks: dict[str, task_pb2.TaskDirective] = field(default_factory=dict)
    taskforces: dict[str, taskforce_pb2.Taskforce] = field(default_factory=dict)
    queues: dict[str, workflow_pb2.Queue] = field(default_factory=dict)
    revision: int = 0

    def take(self, message: workflow_service_pb2.WatchWorkflowResponse) -> None:
        """Follow one message of the watch; every revision must be there."""
        match message.WhichOneof("event"):
            case "snapshot":
                if message.snapshot.HasField("workflow"):
                    self.workflow = message.snapshot.workflow
                self._hold(message.snapshot)
                self.revision = message.snapshot.revision
            case "revision":
                for change in message.revision.changes:
                    self._change(change)
                if message.revision.is_last:
                    assert message.revision.revision == self.revision + 1
                    self.revision += 1

    def _hold(self, snapshot: watch_pb2.WorkflowSnapshot) -> None:
        self.tasks |= {task.task_id: task for task in snapshot.task_directives}
        self.taskforces |= {tf.taskforce_uuid: tf for tf in snapshot.taskforces}
        self.queues |= {queue.alias: queue for queue in snapshot.queues}

    def _change(self, change: watch_pb2.Change) -> None:
        match change.WhichOneof("resource"):
            case "workflow":
                self.workflow = change.workflow
            case "task_directive":
                self.tasks[change.task_directive.task_id] = change.task_directive
            case "taskforce":
                self.taskforces[change.taskforce.taskforce_uuid] = change.taskforce
            case "queue":
                self.queues[change.queue.alias] = change.queue
            case "taskforce_status":
                status = change.taskforce_status
                held = self.taskforces[status.taskforce_uuid]
                for name in ("compound_statuses", "top_task_errors"):
                    held.ClearField(name)
                    getattr(held, name).MergeFrom(getattr(status, name))

    @property
    def taskforce(self) -> taskforce_pb2.Taskforce:
        """The only taskforce."""
        (only,) = self.taskforces.values()
        return only

    @property
    def phases(self) -> list[int]:
        """The taskforces' phases, in the order of their ids."""
        return [self.taskforces[uuid].phase for uuid in sorted(self.taskforces)]

    @property
    def state(self) -> int:
        """The workflow's state."""
        return self.workflow.state

    @property
    def has_settled(self) -> bool:
        """Whether its last taskforce has ended after it."""
        return self.workflow.HasField("settled_time")


@dataclass
class Wms:
    """A WMS process, and the stubs of one client."""

    server: WmsServer
    workflows: WorkflowServiceAsyncStub
    tasks: TaskDirectiveServiceAsyncStub
    taskforces: TaskforceServiceAsyncStub
    tms: TmsServiceAsyncStub
    channel: grpc.aio.Channel

    async def submit(self, *tasks: task_pb2.TaskSpec, **fields: Any) -> str:
        """Submit a workflow and return its id."""
        submitted = await self.workflows.SubmitWorkflow(a_request(*tasks, **fields))
        return submitted.workflow.workflow_id

    async def get(self, workflow_id: str) -> workflow_pb2.Workflow:
        """Read a workflow."""
        request = workflow_service_pb2.GetWorkflowRequest(workflow_id=workflow_id)
        return (await self.workflows.GetWorkflow(request)).workflow

    async def taskforce(self, uuid: str) -> taskforce_pb2.Taskforce:
        """Read a taskforce."""
        request = taskforce_service_pb2.GetTaskforceRequest(taskforce_uuid=uuid)
        return (await self.taskforces.GetTaskforce(request)).taskforce

    async def end(self, how: str, workflow_id: str, **fields: Any) -> Any:
        """`Finish` or `Abort` a workflow."""
        request = getattr(workflow_service_pb2, f"{how}WorkflowRequest")
        call = getattr(self.workflows, f"{how}Workflow")
        return await call(request(workflow_id=workflow_id, **fields))

    async def pause(self, workflow_id: str, **fields: Any) -> workflow_pb2.Workflow:
        """Pause a workflow."""
        request = workflow_service_pb2.PauseWorkflowRequest(workflow_id=workflow_id, **fields)
        return (await self.workflows.PauseWorkflow(request)).workflow

    async def resume(self, workflow_id: str, **fields: Any) -> workflow_pb2.Workflow:
        """Resume a workflow."""
        request = workflow_service_pb2.ResumeWorkflowRequest(workflow_id=workflow_id, **fields)
        return (await self.workflows.ResumeWorkflow(request)).workflow

    async def close(self, workflow_id: str, alias: str, **fields: Any) -> workflow_pb2.Queue:
        """Ask for a public queue to be closed."""
        request = workflow_service_pb2.CloseQueueRequest(
            workflow_id=workflow_id, alias=alias, **fields
        )
        return (await self.workflows.CloseQueue(request)).queue

    async def add_workers(
        self, task_id: str, n_workers: int = 1, location: str = "osg", **fields: Any
    ) -> taskforce_pb2.Taskforce:
        """Add workers to a task."""
        request = task_directive_service_pb2.AddWorkersRequest(
            task_id=task_id, cluster_location=location, n_workers=n_workers, **fields
        )
        return (await self.tasks.AddWorkers(request)).taskforce

    async def update(self, workflow_id: str, *mask: str, **fields: Any) -> workflow_pb2.Workflow:
        """Update the masked fields of a workflow."""
        request = workflow_service_pb2.UpdateWorkflowRequest(
            workflow=workflow_pb2.Workflow(workflow_id=workflow_id, **fields)
        )
        request.update_mask.paths.extend(mask)
        return (await self.workflows.UpdateWorkflow(request)).workflow

    async def public_queues(self, workflow_id: str) -> list[workflow_service_pb2.PublicQueue]:
        """List a workflow's public queues with their tokens."""
        request = workflow_service_pb2.ListPublicQueuesRequest(workflow_id=workflow_id)
        return list((await self.workflows.ListPublicQueues(request)).queues)

    async def history(self, workflow_id: str) -> list[workflow_pb2.HistoryEntry]:
        """Read a workflow's whole history."""
        request = workflow_service_pb2.ListWorkflowHistoryRequest(
            workflow_id=workflow_id, page_size=1000
        )
        return list((await self.workflows.ListWorkflowHistory(request)).entries)

    async def until(self, workflow_id: str, holds: Callable[[View], object]) -> View:
        """Watch a workflow until something holds of it."""
        view = View()
        request = workflow_service_pb2.WatchWorkflowRequest(workflow_id=workflow_id, keep_open=True)
        watch = self.workflows.WatchWorkflow(request)
        try:
            async with asyncio.timeout(PATIENCE):
                async for message in watch:
                    view.take(message)
                    if view.revision and holds(view):
                        return view
        except TimeoutError:
            raise AssertionError(f"waited in vain; it is {view}") from None
        finally:
            watch.cancel()
        raise AssertionError(f"the watch ended; it was {view}")

    async def until_settled(self, workflow_id: str) -> View:
        """Watch a workflow until it has settled."""
        return await self.until(workflow_id, lambda view: view.has_settled)

    async def until_told(self, workflow_id: str, what: str) -> None:
        """Watch a workflow until its history has a line that says so."""
        request = workflow_service_pb2.WatchWorkflowRequest(workflow_id=workflow_id, keep_open=True)
        watch = self.workflows.WatchWorkflow(request)
        async with asyncio.timeout(PATIENCE):
            async for _ in watch:
                if any(entry.what == what for entry in await self.history(workflow_id)):
                    break
        watch.cancel()

    async def rows(self) -> dict[str, int]:
        """Count the rows of every table that a call could write to."""
        row = await self.server.store.db.fetchrow(_COUNT_ROWS)
        assert row is not None
        return dict(row)


def _settings(mqs: str, **settings: Any) -> WmsSettings:
    given: dict[str, Any] = {
        "listen": "127.0.0.1:0",
        "mqs": mqs,
        "stop_grace": timedelta(milliseconds=50),
        "max_connections": 8,
    }
    return WmsSettings(**given | settings)


@asynccontextmanager
async def an_mqs(url: str, listen: str = "127.0.0.1:0", **settings: Any) -> AsyncGenerator[str]:
    """Run the MQS on the same database and yield its address."""
    given: dict[str, Any] = {"database": url, "listen": listen, "connections": 4}
    async with mqs_server(MqsSettings(**given | settings)) as running:
        yield running.address


class Kept(Generic[T]):
    """A context that is open in a task of its own, until it is let go of."""

    def __init__(self, context: AbstractAsyncContextManager[T]) -> None:
        self._context = context
        self._over = asyncio.Event()
        self._opened: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._keep())

    async def opened(self) -> T:
        """Wait until it is open."""
        await asyncio.wait([self._opened, self._task], return_when=asyncio.FIRST_COMPLETED)
        if not self._opened.done():
            await self._task
        return await self._opened

    async def close(self) -> None:
        """Close it; not for the second time."""
        self._over.set()
        await self._task

    async def _keep(self) -> None:
        async with self._context as value:
            self._opened.set_result(value)
            await self._over.wait()


class Stack:
    """Starts WMS processes and MQSs on one database; all end with the test."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.mqs_address = NOBODY
        self._kept: list[Kept[Any]] = []
        self._mqs: Kept[str] | None = None
        self._servers: dict[str, Kept[WmsServer]] = {}

    async def mqs(self, **settings: Any) -> None:
        """Start the MQS; where it was before, if it was stopped."""
        if self.mqs_address != NOBODY:
            settings = {"listen": self.mqs_address} | settings
        self._mqs = self._keep(an_mqs(self.url, **settings))
        self.mqs_address = await self._mqs.opened()

    async def stop_mqs(self) -> None:
        """Stop the MQS."""
        assert self._mqs is not None
        await self._mqs.close()

    async def wms(self, **settings: Any) -> Wms:
        """Start a WMS process beside the MQS that was started before."""
        kept = self._keep(wms_server(_settings(self.mqs_address, **settings), self.url))
        server = await kept.opened()
        channel = await self._keep(open_channel(server.address)).opened()
        self._servers[server.address] = kept
        return Wms(
            server,
            WorkflowServiceStub(channel),
            TaskDirectiveServiceStub(channel),
            TaskforceServiceStub(channel),
            TmsServiceStub(channel),
            channel,
        )

    async def stop(self, wms: Wms) -> None:
        """Stop a WMS process as SIGTERM does; its client stays."""
        await self._servers[wms.server.address].close()

    async def close(self) -> None:
        """Stop everything."""
        for kept in reversed(self._kept):
            await kept.close()

    def _keep(self, context: AbstractAsyncContextManager[Any]) -> Kept[Any]:
        kept = Kept(context)
        self._kept.append(kept)
        return kept


class Refusal:
    """Expects that a call in its block is refused with a code, and keeps what that said."""

    error: RpcError

    def __init__(self, code: grpc.StatusCode) -> None:
        self._code = code

    async def __aenter__(self) -> Refusal:
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        assert error is not None, f"the call was not refused with {self._code.name}"
        if not isinstance(error, grpc.aio.AioRpcError):
            return False
        assert error.code() is self._code, f"{error.code()}: {error.details()}"
        self.error = from_rpc_error(error)
        return True

    @property
    def paths(self) -> set[str]:
        """The bad fields of an INVALID_ARGUMENT."""
        assert isinstance(self.error, InvalidArgument)
        return {violation.path for violation in self.error.violations}


def refused(code: str) -> Refusal:
    """Expect that a call in the block is refused, with this code."""
    return Refusal(grpc.StatusCode[code])
