"""A WMS that says what a script tells it to, and a broker in memory whose streams can be broken at
a chosen moment: faults that a real server does not have on demand."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from ewms.mqs.v1 import event_service_pb2 as mq
from ewms.mqs.v1.event_service_pb2_grpc import (
    EventServiceServicer,
    add_EventServiceServicer_to_server,
)
from ewms.wms.v1 import watch_pb2, workflow_pb2
from ewms.wms.v1 import workflow_service_pb2 as wms
from ewms.wms.v1.workflow_service_pb2_grpc import (
    WorkflowServiceServicer,
    add_WorkflowServiceServicer_to_server,
)

Step = wms.WatchWorkflowResponse | grpc.StatusCode | asyncio.Event


def snapshot(
    revision: int,
    *,
    state: int = workflow_pb2.WORKFLOW_STATE_ACTIVE,
    is_last: bool = True,
    aliases: Iterable[str] = (),
    is_activated: bool = True,
) -> wms.WatchWorkflowResponse:
    """A snapshot, or its first part."""
    return wms.WatchWorkflowResponse(
        snapshot=watch_pb2.WorkflowSnapshot(
            revision=revision,
            workflow=workflow_pb2.Workflow(workflow_id="WF-1", state=state),
            queues=[
                workflow_pb2.Queue(alias=alias, is_activated=is_activated) for alias in aliases
            ],
            is_last=is_last,
            feed_epoch="epoch-1",
        )
    )


def revision(
    number: int, *, is_last: bool = True, state: int | None = None
) -> wms.WatchWorkflowResponse:
    """A revision, or a part of it, that changes the workflow."""
    workflow = workflow_pb2.Workflow(
        workflow_id="WF-1",
        revision=number,
        state=state or workflow_pb2.WORKFLOW_STATE_ACTIVE,
    )
    return wms.WatchWorkflowResponse(
        revision=watch_pb2.WorkflowRevision(
            workflow_id="WF-1",
            revision=number,
            changes=[watch_pb2.Change(workflow=workflow)],
            is_last=is_last,
        )
    )


def checkpoint(number: int) -> wms.WatchWorkflowResponse:
    """All up to this revision was delivered."""
    return wms.WatchWorkflowResponse(checkpoint=watch_pb2.Checkpoint(revision=number))


class ScriptedWms(WorkflowServiceServicer):
    """Each watch plays the next script: messages, an event to wait for, or a status to end with."""

    def __init__(self, *scripts: Iterable[Step]) -> None:
        self.watches: list[wms.WatchWorkflowRequest] = []
        self.is_watched = asyncio.Event()
        self.submissions: list[wms.SubmitWorkflowRequest] = []
        self.submit_failures: deque[grpc.StatusCode] = deque()
        self.queues: list[wms.PublicQueue] = []
        self.listings: deque[list[wms.PublicQueue]] = deque()
        self.listing_failures: deque[grpc.StatusCode] = deque()
        self.n_listings = 0
        self._scripts = deque(scripts)

    def play(self, script: Iterable[Step]) -> None:
        """Have one more watch play this, after those before it."""
        self._scripts.append(script)

    async def WatchWorkflow(  # type: ignore[override]
        self, request: wms.WatchWorkflowRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[wms.WatchWorkflowResponse]:
        self.watches.append(request)
        self.is_watched.set()
        for step in self._scripts.popleft():
            if isinstance(step, grpc.StatusCode):
                await context.abort(step, f"scripted {step.name}")
            elif isinstance(step, asyncio.Event):
                await step.wait()
            else:
                yield step

    async def SubmitWorkflow(  # type: ignore[override]
        self, request: wms.SubmitWorkflowRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> wms.SubmitWorkflowResponse:
        self.submissions.append(request)
        if self.submit_failures:
            await context.abort(self.submit_failures.popleft(), "scripted")
        return wms.SubmitWorkflowResponse(workflow=workflow_pb2.Workflow(workflow_id="WF-1"))

    async def GetWorkflow(  # type: ignore[override]
        self, request: wms.GetWorkflowRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> wms.GetWorkflowResponse:
        state = workflow_pb2.WORKFLOW_STATE_FINISHED
        return wms.GetWorkflowResponse(
            workflow=workflow_pb2.Workflow(workflow_id=request.workflow_id, state=state)
        )

    async def ListPublicQueues(  # type: ignore[override]
        self, request: wms.ListPublicQueuesRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> wms.ListPublicQueuesResponse:
        self.n_listings += 1
        if self.listing_failures:
            await context.abort(self.listing_failures.popleft(), "scripted")
        if self.listings:
            return wms.ListPublicQueuesResponse(queues=self.listings.popleft())
        return wms.ListPublicQueuesResponse(queues=self.queues)


@dataclass
class Faults:
    """What a broker in memory does wrong, each once."""

    break_before_confirming: bool = False
    break_after_deliveries: int | None = None
    lose_answer_to_ack: bool = False
    refused_tokens: set[str] = field(default_factory=set)
    is_gone: bool = False


class MemoryBroker(EventServiceServicer):
    """One queue. `lease` in seconds is what it tells its consumers; no lease ever runs out."""

    def __init__(self, lease: float = 60.0) -> None:
        self.faults = Faults()
        self.stored: dict[str, mq.Event] = {}
        self.acknowledged: list[str] = []
        self.settled_elsewhere: list[str] = []
        self.extended = asyncio.Event()
        self.is_drained_when_empty = False
        self.lost: set[str] = set()
        self.tokens: list[str] = []
        self.has_token: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.given_back: list[str] = []
        self._waiting: deque[mq.Event] = deque()
        self._in_flight: dict[str, mq.Event] = {}
        self._lease = lease

    @property
    def n_in_flight(self) -> int:
        """How many events are delivered and not settled."""
        return len(self._in_flight)

    def add(self, *payloads: bytes) -> None:
        """Events that wait."""
        for payload in payloads:
            self._waiting.append(mq.Event(event_id=payload.decode(), payload=payload))

    async def Publish(  # type: ignore[override]
        self,
        requests: AsyncIterator[mq.PublishRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[mq.PublishResponse]:
        await self._authorise(context)
        n_confirmed = 0
        async for request in requests:
            for event in request.events:
                self.stored.setdefault(event.event_id, event)
            if self.faults.break_before_confirming:
                self.faults.break_before_confirming = False
                await context.abort(grpc.StatusCode.UNAVAILABLE, "scripted")
            n_confirmed += 1
            yield mq.PublishResponse(n_confirmed=n_confirmed)

    async def Consume(  # type: ignore[override]
        self,
        requests: AsyncIterator[mq.ConsumeRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[mq.ConsumeResponse]:
        await self._authorise(context)
        opening = mq.ConsumeResponse()
        opening.lease.FromMilliseconds(round(self._lease * 1000))
        yield opening
        held: dict[str, mq.Event] = {}
        credit = 0
        async for request in requests:
            credit += request.credit + len(request.ack) + len(request.nack)
            settled = [*request.ack, *(nack.delivery_id for nack in request.nack)]
            for delivery_id in settled:
                held.pop(delivery_id, None)
            answer = self._settle(settled, request.extend)
            if settled and self.faults.lose_answer_to_ack:
                self.faults.lose_answer_to_ack = False
                await context.abort(grpc.StatusCode.UNAVAILABLE, "scripted")
            yield answer
            while credit and self._waiting:
                event = self._waiting.popleft()
                held[event.event_id] = self._in_flight[event.event_id] = event
                credit -= 1
                yield mq.ConsumeResponse(
                    deliveries=[
                        mq.Delivery(delivery_id=event.event_id, event=event, n_deliveries=1)
                    ]
                )
                await self._break_if_told(context)
            if self.is_drained_when_empty and not self._waiting and not self._in_flight:
                return
        self.given_back += held

    async def SettleDeliveries(  # type: ignore[override]
        self, request: mq.SettleDeliveriesRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> mq.SettleDeliveriesResponse:
        self.settled_elsewhere += request.ack
        answer = self._settle([*request.ack], request.extend)
        return mq.SettleDeliveriesResponse(settled=answer.settled, lost=answer.lost)

    def _settle(self, settled: list[str], extended: Iterable[str]) -> mq.ConsumeResponse:
        answer = mq.ConsumeResponse()
        for delivery_id in settled:
            if delivery_id in self.lost:
                answer.lost.append(delivery_id)
                continue
            if self._in_flight.pop(delivery_id, None) is not None:
                self.acknowledged.append(delivery_id)
            answer.settled.append(delivery_id)
        for delivery_id in extended:
            (answer.lost if delivery_id in self.lost else answer.settled).append(delivery_id)
            self.extended.set()
        return answer

    async def _break_if_told(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        if self.faults.break_after_deliveries is not None:
            self.faults.break_after_deliveries -= 1
            if not self.faults.break_after_deliveries:
                self.faults.break_after_deliveries = None
                await context.abort(grpc.StatusCode.UNAVAILABLE, "scripted")

    async def _authorise(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        token = dict(context.invocation_metadata() or ())["authorization"]
        self.tokens.append(str(token))
        self.has_token[str(token)].set()
        if token in self.faults.refused_tokens:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "expired")
        if self.faults.is_gone:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such queue")


@asynccontextmanager
async def serving(*services: ScriptedWms | MemoryBroker, port: int = 0) -> AsyncIterator[str]:
    """Serve them on loopback; gives the address."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    for service in services:
        if isinstance(service, ScriptedWms):
            add_WorkflowServiceServicer_to_server(service, server)
        else:
            add_EventServiceServicer_to_server(service, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)
