"""SubmitWorkflow: 32 clients, one WMS process, no peer attached.

Each client submits the example request, with a fresh request id as our own client sets it. The
limit is sent the same bytes and answers with as many as ours, and for each call runs the
statement of one submission with arguments of its own.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

from benchmarks.bare import Handlers, bare_pool, served, table_names
from benchmarks.load import DEADLINE, call_of, calls_of, clients, each_of
from benchmarks.measuring import Round, Row, Unit, at_least
from benchmarks.recording import Step, recording, replay
from benchmarks.site import Kind, Site
from benchmarks.workflows import example_request, submit_in_process
from ewms.wms.v1 import workflow_service_pb2 as pb
from wms_grpc.storage.store import Store

__all__ = ["ROW", "bare_handlers"]

_CLIENTS = 32
_CALLS = 2_000


@asynccontextmanager
async def _ours(site: Site, kind: Kind) -> AsyncIterator[Round]:
    n_calls = site.scale.of(_CALLS)
    async with (
        site.database(kind) as url,
        site.wms(url) as server,
        clients(server.address, _CLIENTS) as channels,
    ):
        calls = calls_of(channels, "/ewms.wms.v1.WorkflowService/SubmitWorkflow")

        async def measure() -> float:
            return n_calls / await each_of(calls, _requests(n_calls))

        yield measure


@asynccontextmanager
async def _limit(site: Site, kind: Kind) -> AsyncIterator[Round]:
    n_calls = site.scale.of(_CALLS)
    async with (
        site.database(kind) as url,
        site.bare("submissions", url) as server,
        clients(server.address, _CLIENTS) as channels,
    ):
        prepare = call_of(channels[0], "/bare/Prepare")
        calls = calls_of(channels, "/bare/Submit")

        async def measure() -> float:
            await prepare(json.dumps(n_calls).encode(), timeout=DEADLINE)
            return n_calls / await each_of(calls, _requests(n_calls))

        yield measure


ROW = Row(
    name="submissions",
    what=f"SubmitWorkflow/s, {_CLIENTS} clients, one server process, no peers",
    limit_is="bare grpc.aio echo, the same statements on bare asyncpg",
    unit=Unit.RATE,
    required=at_least(0.5),
    goal=at_least(0.7),
    ours=_ours,
    limit=_limit,
)


@asynccontextmanager
async def bare_handlers(url: str) -> AsyncIterator[Handlers]:
    """`Prepare` records the statements of so many submissions; `Submit` runs those of one."""
    prepared: deque[tuple[list[Step], bytes]] = deque()

    async with bare_pool(url) as pool:

        async def prepare(request: bytes) -> bytes:
            async with recording(url) as recorded:
                store = Store(recorded.db, lambda _parts, _topics: None)
                for payload in _requests(json.loads(request)):
                    answer = await submit_in_process(
                        store, pb.SubmitWorkflowRequest.FromString(payload)
                    )
                    prepared.append((recorded.take(), answer.SerializeToString()))
            await pool.execute(f"TRUNCATE {', '.join(await table_names(pool))}")
            return b""

        async def submit(_request: bytes) -> bytes:
            steps, answer = prepared.popleft()
            async with pool.acquire() as connection:
                await replay(connection, steps)
            return answer

        yield {"Prepare": served(prepare), "Submit": served(submit)}


def _requests(number: int) -> list[bytes]:
    """Encoded submissions; a field that is appended to an encoded message is part of it."""
    example = example_request().SerializeToString()
    return [
        example + pb.SubmitWorkflowRequest(request_id=uuid4().hex).SerializeToString()
        for _ in range(number)
    ]
