"""WatchWorkflow: revisions of one workflow to a thousand watchers.

The revisions are asked for all at once, by one caller's UpdateWorkflow calls; the time is that from
the first call until every watcher has every revision. The limit is asked for as many messages of
the same bytes to as many streams, all at once, too: a server that is never caught up may write
several messages for each time that it wakes a stream.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf.field_mask_pb2 import FieldMask

from benchmarks.bare import Handlers, served, streamed
from benchmarks.load import DEADLINE, call_of, clients
from benchmarks.measuring import Round, Row, Unit, at_least
from benchmarks.site import Kind, Site
from benchmarks.workflows import example_request, plan_of
from ewms.wms.v1 import watch_pb2, workflow_pb2
from ewms.wms.v1 import workflow_service_pb2 as pb
from wms_grpc.storage.encoded_revisions import encode_revision
from wms_grpc.storage.feed_parts import REVISION, framed
from wms_grpc.storage.messages import workflow_message

__all__ = ["ROW", "bare_handlers"]

_WATCHERS = 1_000
_CONNECTIONS = 10
_REVISIONS = 30


class _Crowd:
    """Watchers that count the revisions which they are sent."""

    def __init__(self, calls: Sequence[Any]) -> None:
        self._calls = calls
        self._n_missing = 0
        self._has_all = asyncio.Event()
        self._n_open = 0
        self._all_open = asyncio.Event()

    async def follow(self) -> None:
        """Read every stream until cancelled."""
        async with asyncio.TaskGroup() as group:
            for call in self._calls:
                group.create_task(self._read(call))

    async def opened(self) -> None:
        """Wait until every watcher has been sent its first message."""
        await self._all_open.wait()

    def expect(self, n_revisions: int) -> None:
        """Await so many revisions for each watcher."""
        self._n_missing = n_revisions * len(self._calls)
        self._has_all.clear()

    async def sent_all(self) -> None:
        """Wait until everyone has what is expected."""
        await self._has_all.wait()

    async def _read(self, call: Any) -> None:
        await call.read()
        self._n_open += 1
        if self._n_open == len(self._calls):
            self._all_open.set()
        while (message := await call.read()) is not grpc.aio.EOF:
            if message[:1] == REVISION:
                self._n_missing -= 1
                if not self._n_missing:
                    self._has_all.set()


@asynccontextmanager
async def _a_crowd(
    channels: Sequence[grpc.aio.Channel], method: str, request: bytes
) -> AsyncIterator[_Crowd]:
    methods: list[Any] = [channel.unary_stream(method) for channel in channels]
    calls = [methods[number % len(methods)](request) for number in range(_WATCHERS)]
    crowd = _Crowd(calls)
    following = asyncio.create_task(crowd.follow())
    try:
        async with asyncio.timeout(DEADLINE):
            await crowd.opened()
        yield crowd
    finally:
        following.cancel()
        await asyncio.wait([following])


@asynccontextmanager
async def _ours(site: Site, kind: Kind) -> AsyncIterator[Round]:
    n_revisions = site.scale.of(_REVISIONS)
    service = "/ewms.wms.v1.WorkflowService"
    async with (
        site.database(kind) as url,
        site.wms(url) as server,
        clients(server.address, _CONNECTIONS + 1) as (caller, *channels),
    ):
        submit = call_of(caller, f"{service}/SubmitWorkflow")
        answer = await submit(example_request().SerializeToString())
        workflow_id = pb.SubmitWorkflowResponse.FromString(answer).workflow.workflow_id
        update = call_of(caller, f"{service}/UpdateWorkflow")
        watch = pb.WatchWorkflowRequest(workflow_id=workflow_id).SerializeToString()
        async with _a_crowd(channels, f"{service}/WatchWorkflow", watch) as crowd:
            renamed = _Renamed(workflow_id)

            async def measure() -> float:
                requests = [renamed.request() for _ in range(n_revisions)]
                crowd.expect(n_revisions)
                begin = time.perf_counter()
                await asyncio.gather(*(update(request, timeout=DEADLINE) for request in requests))
                await crowd.sent_all()
                return n_revisions * _WATCHERS / (time.perf_counter() - begin)

            yield measure


class _Renamed:
    """Updates of a workflow, each of which changes it."""

    def __init__(self, workflow_id: str) -> None:
        self._workflow_id = workflow_id
        self._number = 0

    def request(self) -> bytes:
        """The next one."""
        self._number += 1
        return pb.UpdateWorkflowRequest(
            workflow=workflow_pb2.Workflow(
                workflow_id=self._workflow_id, name=_name_of(self._number)
            ),
            update_mask=FieldMask(paths=["name"]),
        ).SerializeToString()


@asynccontextmanager
async def _limit(site: Site, kind: Kind) -> AsyncIterator[Round]:
    n_revisions = site.scale.of(_REVISIONS)
    async with (
        site.bare("watchers", "") as server,
        clients(server.address, _CONNECTIONS + 1) as (caller, *channels),
        _a_crowd(channels, "/bare/Watch", b"") as crowd,
    ):
        send = call_of(caller, "/bare/Send")

        async def measure() -> float:
            crowd.expect(n_revisions)
            begin = time.perf_counter()
            await send(json.dumps(n_revisions).encode(), timeout=DEADLINE)
            await crowd.sent_all()
            return n_revisions * _WATCHERS / (time.perf_counter() - begin)

        yield measure


ROW = Row(
    name="watchers",
    what=f"a revision to {_WATCHERS:,} watchers, messages/s",
    limit_is="bare grpc.aio server streams of the same bytes",
    unit=Unit.RATE,
    required=at_least(0.5),
    goal=at_least(0.7),
    ours=_ours,
    limit=_limit,
)


@asynccontextmanager
async def bare_handlers(_url: str) -> AsyncIterator[Handlers]:
    """`Watch` streams what `Send` asks for: so many messages of one revision's bytes."""
    n_sent = 0
    sent = asyncio.Event()
    message = _revision_message()

    async def send(request: bytes) -> bytes:
        nonlocal n_sent, sent
        n_sent += json.loads(request)
        sent.set()
        sent = asyncio.Event()
        return b""

    async def watch(_request: bytes, context: Any) -> None:
        n_written = n_sent
        await context.write(b"open")
        while True:
            while n_written < n_sent:
                await context.write(message)
                n_written += 1
            await sent.wait()

    yield {"Watch": streamed(watch), "Send": served(send)}


def _revision_message() -> bytes:
    """A revision of a renamed workflow, as it is sent."""
    plan = plan_of(example_request())
    workflow = workflow_message(plan.workflow)
    workflow.name = _name_of(1)
    (part,) = encode_revision(
        plan.workflow,
        [watch_pb2.Change(workflow=workflow)],
        plan.workflow.create_time,
        before=plan.workflow,
    )
    return framed(REVISION, part.body)


def _name_of(number: int) -> str:
    return f"name {number:06}"
