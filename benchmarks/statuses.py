"""ReportStatuses: batches of 500 taskforces in 50 workflows, from four agents at once.

Each agent has workflows of its own, and sends one batch after the other; every status in a batch
is news. The limit is sent the same bytes and runs the statements of the same batches: lock the
workflows, update the taskforces, write the revisions.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count

import asyncpg

from benchmarks.bare import Handlers, bare_pool, served
from benchmarks.load import DEADLINE, Call, call_of, calls_of, clients, each_of
from benchmarks.measuring import Round, Row, Unit, at_least
from benchmarks.recording import Step, recording, replay
from benchmarks.site import Kind, Site
from benchmarks.workflows import example_request, submit_in_process
from ewms.wms.v1 import tms_service_pb2 as pb
from ewms_postgres.database import open_database
from wms_grpc.api.status_updates import status_report
from wms_grpc.storage import messages
from wms_grpc.storage.statuses import StatusReport, report_statuses
from wms_grpc.storage.store import Store

__all__ = ["ROW", "bare_handlers"]

_AGENTS = 4
_WORKFLOWS = 50
_TASKS = 10
_BATCH = _WORKFLOWS * _TASKS
_BATCHES = 20

# As they are once their clusters are submitted: the only taskforces that have statuses.
_RUNNING = """
    UPDATE wms.taskforce SET phase = 'CONDOR_SUBMIT', cluster_id = 1, waiting_reason = ''
    WHERE phase = 'PRE_MQ_ACTIVATION';
    UPDATE wms.workflow SET state = 'ACTIVE', active_time = now(), pending_reason = '',
      activation_due = NULL, claim_until = NULL
    WHERE state = 'PENDING';
"""
_TASKFORCES = """
    SELECT taskforce_uuid FROM wms.taskforce WHERE phase = 'CONDOR_SUBMIT' ORDER BY taskforce_uuid
"""


class _Agent:
    """One agent's taskforces, and its reports on them, of which no two are alike."""

    def __init__(self, taskforce_uuids: Sequence[str]) -> None:
        self._uuids = taskforce_uuids
        self._sequences = count(1)

    def reports(self, number: int) -> list[list[StatusReport]]:
        """So many batches."""
        return [self._batch(next(self._sequences)) for _ in range(number)]

    def _batch(self, sequence: int) -> list[StatusReport]:
        tasking = sequence % 500
        statuses = {
            "IDLE": {"None": 1000 - tasking},
            "RUNNING": {"Tasking": tasking, "AwaitingInput": 7},
        }
        errors = {"RuntimeError('no such detector')": sequence, "TimeoutError()": 3}
        update = pb.StatusUpdate(
            cluster_id=1,
            sequence=sequence,
            compound_statuses=messages.pilot_status_counts(statuses),
            top_task_errors=errors,
        )
        batch = []
        for uuid in self._uuids:
            update.taskforce_uuid = uuid
            report = status_report(update)
            assert report is not None
            batch.append(report)
        return batch


def _encoded(batch: Sequence[StatusReport]) -> bytes:
    request = pb.ReportStatusesRequest()
    for report in batch:
        update = request.updates.add(
            taskforce_uuid=report.taskforce_uuid,
            attempt=1,
            cluster_id=report.cluster_id,
            sequence=report.sequence,
            top_task_errors=report.top_task_errors,
        )
        for status, pilots in report.compound_statuses.items():
            update.compound_statuses[status].counts.update(pilots)
    return request.SerializeToString()


@asynccontextmanager
async def _ours(site: Site, kind: Kind) -> AsyncIterator[Round]:
    n_batches = site.scale.of(_BATCHES)
    async with site.database(kind) as url:
        await _fill(url)
        agents = await _agents(url)
        async with site.wms(url) as server, clients(server.address, _AGENTS) as channels:
            calls = calls_of(channels, "/ewms.wms.v1.TmsService/ReportStatuses")

            async def measure() -> float:
                return await _report_all(calls, agents, n_batches)

            yield measure


@asynccontextmanager
async def _limit(site: Site, kind: Kind) -> AsyncIterator[Round]:
    n_batches = site.scale.of(_BATCHES)
    async with site.database(kind) as url:
        await _fill(url)
        agents = await _agents(url)
        async with (
            site.bare("statuses", url) as server,
            clients(server.address, _AGENTS) as channels,
        ):
            prepare = call_of(channels[0], "/bare/Prepare")
            calls = [
                call_of(channel, f"/bare/Report{number}") for number, channel in enumerate(channels)
            ]

            async def measure() -> float:
                await prepare(json.dumps(n_batches).encode(), timeout=DEADLINE)
                return await _report_all(calls, agents, n_batches)

            yield measure


ROW = Row(
    name="statuses",
    what=f"taskforce statuses/s, batches of {_BATCH} over {_WORKFLOWS} workflows",
    limit_is="bare grpc.aio echo, the same statements on bare asyncpg",
    unit=Unit.RATE,
    required=at_least(0.5),
    goal=at_least(0.7),
    ours=_ours,
    limit=_limit,
)


async def _report_all(calls: Sequence[Call], agents: Sequence[_Agent], n_batches: int) -> float:
    """Have every agent send so many batches; return statuses a second."""
    batches = [list(map(_encoded, agent.reports(n_batches))) for agent in agents]
    begin = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for call, requests in zip(calls, batches, strict=True):
            group.create_task(each_of([call], requests))
    return len(agents) * n_batches * _BATCH / (time.perf_counter() - begin)


async def _fill(url: str) -> None:
    """Fill a database with workflows whose taskforces are running."""
    async with open_database(url, application_name="benchmarks") as db:
        store = Store(db, lambda _parts, _topics: None)
        request = example_request(n_tasks=_TASKS)
        for _ in range(_AGENTS * _WORKFLOWS):
            await submit_in_process(store, request)
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_RUNNING)
        await connection.execute("VACUUM ANALYZE wms.taskforce, wms.workflow, wms.feed")
    finally:
        await connection.close()


async def _agents(url: str) -> list[_Agent]:
    """The agents of all running taskforces."""
    connection = await asyncpg.connect(url)
    try:
        uuids = [row["taskforce_uuid"] for row in await connection.fetch(_TASKFORCES)]
    finally:
        await connection.close()
    return [_Agent(uuids[start : start + _BATCH]) for start in range(0, len(uuids), _BATCH)]


@asynccontextmanager
async def bare_handlers(url: str) -> AsyncIterator[Handlers]:
    """`Prepare` records the statements of so many batches of each agent; `Report0` runs one's."""
    answer = pb.ReportStatusesResponse(results=[pb.STATUS_UPDATE_RESULT_UPDATED] * _BATCH)
    body = answer.SerializeToString()
    agents = await _agents(url)
    prepared: list[deque[list[Step]]] = [deque() for _ in agents]

    async with bare_pool(url) as pool, recording(url) as recorded:
        store = Store(recorded.db, lambda _parts, _topics: None)

        async def prepare(request: bytes) -> bytes:
            for agent, scripts in zip(agents, prepared, strict=True):
                # Undone, so that running the same statements later does the same.
                async with recorded.undone():
                    for batch in agent.reports(json.loads(request)):
                        await report_statuses(store, batch)
                        scripts.append(recorded.take())
            return b""

        def reporting(scripts: deque[list[Step]]) -> Callable[[bytes], Awaitable[bytes]]:
            async def report(_request: bytes) -> bytes:
                steps = scripts.popleft()
                async with pool.acquire() as connection:
                    await replay(connection, steps)
                return body

            return report

        yield {
            "Prepare": served(prepare),
            **{f"Report{n}": served(reporting(scripts)) for n, scripts in enumerate(prepared)},
        }
