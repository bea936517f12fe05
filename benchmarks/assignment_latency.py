"""From a submission to the TMS that holds the assignment, on a system that is otherwise idle.

One workflow at a time, with the real MQS beside, from the moment at which the WMS takes the
submission up (`create_time`) until a scripted agent has read the assignment from its stream. That
is earlier than the commit, so the figure holds the submission's own statement as well, and so
does the limit: every statement of the way (submission, grant of the queues, activation with the
launch, claim, what the assignment says, its queues' tokens) one after the other on one bare
connection, then one message on a bare stream.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from statistics import median
from typing import Any

import asyncpg

from benchmarks.agent import an_agent
from benchmarks.bare import Handlers, served, streamed, table_names
from benchmarks.load import DEADLINE, call_of, clients
from benchmarks.measuring import Criterion, Round, Row, Unit
from benchmarks.recording import Recording, Step, recording, replay
from benchmarks.site import Kind, Site
from benchmarks.workflows import example_request, insert_in_process, plan_of
from ewms_mqs.brokers.postgres import PostgresBroker
from ewms_mqs.config import MqsSettings
from ewms_mqs.grants import Grants
from ewms_mqs.model import Mqid as MqsMqid
from ewms_mqs.model import QueueSpec
from ewms_mqs.model import WorkflowId as MqsWorkflowId
from ewms_mqs.register import Register
from ewms_mqs.signals import Signals
from wms_grpc.config import WmsSettings
from wms_grpc.domain.translation import Plan
from wms_grpc.storage import agents, lifecycle
from wms_grpc.storage.store import Store

__all__ = ["ROW", "bare_handlers"]

_SUBMISSIONS = 40
_SCHEDD = "osg"
_PAUSE_SECONDS = 0.03
"""What is still to be done for one workflow must not be in the way of the next."""
_LEASE = timedelta(hours=1)
_ASSIGNMENT_BYTES = 2_000


@asynccontextmanager
async def _ours(site: Site, kind: Kind) -> AsyncIterator[Round]:
    n_submissions = site.scale.of(_SUBMISSIONS)
    async with (
        site.database(kind) as url,
        site.mqs(url) as mqs,
        site.wms(url, mqs.address) as wms,
        clients(wms.address, 1) as [channel],
        an_agent(channel, _SCHEDD) as agent,
    ):
        submit = call_of(channel, "/ewms.wms.v1.WorkflowService/SubmitWorkflow")
        request = example_request(n_workers=1).SerializeToString()

        async def once() -> float:
            await submit(request, timeout=DEADLINE)
            start, arrival = await agent.started()
            created = start.taskforce.create_time.ToNanoseconds() * 1e-9
            await agent.complete(start)
            await asyncio.sleep(_PAUSE_SECONDS)
            return (arrival - created) * 1e3

        async def measure() -> float:
            return median([await once() for _ in range(n_submissions)])

        yield measure


@asynccontextmanager
async def _limit(site: Site, kind: Kind) -> AsyncIterator[Round]:
    n_submissions = site.scale.of(_SUBMISSIONS)
    async with (
        site.database(kind) as url,
        site.bare("assignment_latency", url) as server,
        clients(server.address, 1) as [channel],
    ):
        prepare, submit = call_of(channel, "/bare/Prepare"), call_of(channel, "/bare/Submit")
        watch: Any = channel.unary_stream("/bare/Watch")
        stream = watch(b"")
        await stream.read()

        async def once() -> float:
            # The answer comes after the assignment; ours is not awaited by the agent either.
            submitting = asyncio.ensure_future(submit(b"", timeout=DEADLINE))
            begin = float((await stream.read())[:32])
            arrival = time.time()
            await submitting
            await asyncio.sleep(_PAUSE_SECONDS)
            return (arrival - begin) * 1e3

        async def measure() -> float:
            await prepare(str(n_submissions).encode(), timeout=DEADLINE)
            return median([await once() for _ in range(n_submissions)])

        yield measure


ROW = Row(
    name="assignment",
    what="submission -> the TMS has the assignment, idle, median",
    limit_is="the same statements on bare asyncpg, then one message on a bare grpc.aio stream",
    unit=Unit.MILLISECONDS,
    required=Criterion(
        "3 x the limit, under 10 ms", lambda ours, limit: ours <= 3 * limit and ours < 10
    ),
    goal=Criterion("under 5 ms", lambda ours, _limit: ours < 5),
    ours=_ours,
    limit=_limit,
)


@asynccontextmanager
async def bare_handlers(url: str) -> AsyncIterator[Handlers]:
    """`Prepare` records so many submissions' ways; `Submit` runs one, and `Watch` hears of it."""
    prepared: deque[list[Step]] = deque()
    assignments: asyncio.Queue[bytes] = asyncio.Queue()

    async with recording(url) as recorded, asyncpg.create_pool(url, min_size=1) as pool:
        path = _Path(recorded)
        await path.begin()
        # Not TRUNCATE, after which every statement would be planned anew.
        empty = "; ".join(f"DELETE FROM {name}" for name in await table_names(pool))

        async def prepare(request: bytes) -> bytes:
            for _ in range(int(request)):
                prepared.append(await path.record())
                # The same statements are to find the same: nothing before this one.
                await pool.execute(empty)
            return b""

        async def submit(_request: bytes) -> bytes:
            async with pool.acquire() as connection:
                begin = time.time()
                await replay(connection, prepared.popleft())
                assignments.put_nowait(f"{begin:032.9f}".encode().ljust(_ASSIGNMENT_BYTES))
                await asyncio.sleep(_PAUSE_SECONDS / 2)
                await connection.execute(empty)
            return b""

        async def watch(_request: bytes, context: Any) -> None:
            await context.write(b"open")
            while True:
                await context.write(await assignments.get())

        yield {"Prepare": served(prepare), "Submit": served(submit), "Watch": streamed(watch)}


class _Path:
    """The way of a submission through WMS and MQS, without either."""

    def __init__(self, recorded: Recording) -> None:
        self._recorded = recorded
        self._db = recorded.db
        self._store = Store(self._db, lambda _parts, _topics: None)
        self._locations = WmsSettings.model_validate({}).locations
        self._session = 0
        settings = MqsSettings.model_validate({})
        self._register = Register(self._db)
        broker = PostgresBroker(
            self._db, settings, on_ready=lambda _: None, on_suspicion=lambda _: None
        )
        nobody: Any = _Nobody()
        self._grants = Grants(self._db, self._register, broker, Signals(nobody), settings)

    async def begin(self) -> None:
        """Hold the schedd's lease for longer than all of this takes."""
        self._session = await agents.open_session(self._db, _SCHEDD, "agent", _LEASE)
        self._recorded.take()

    async def record(self) -> list[Step]:
        """Go the way once, and return what was asked of the database."""
        plan = plan_of(example_request(n_workers=1))
        await insert_in_process(self._store, plan, is_claimed=True)
        await self._grant(plan)
        await self._assign(plan)
        return self._recorded.take()

    async def _grant(self, plan: Plan) -> None:
        specs = [QueueSpec(MqsMqid(q.mqid), q.alias, q.is_public) for q in plan.queues]
        workflow_id = plan.workflow.workflow_id
        await self._grants.request_queues(MqsWorkflowId(workflow_id), specs)
        states = [
            lifecycle.QueueState(q.mqid, False, False, "postgres", "127.0.0.1:50052")
            for q in plan.queues
        ]
        if not await lifecycle.grant_at_once(self._store, states, self._locations, plan):
            raise AssertionError("the way of a submission does not end in a launch")

    async def _assign(self, plan: Plan) -> None:
        pushes = await agents.claim_pushes(self._db, _SCHEDD, self._session)
        if len(pushes) != 1:
            raise AssertionError(f"the way of a submission ends in {len(pushes)} assignments")
        await self._register.of_workflow(MqsWorkflowId(plan.workflow.workflow_id))


class _Nobody:
    """Who is notified where no one listens."""

    def notify(self, _channel: str, _payload: str = "") -> None:
        """Say nothing."""
