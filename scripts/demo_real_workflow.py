"""The workflow of the real demo: submitted, fed, read, ended, and looked for in every corner after.

As a user has it: by the command line, and by the public client where events are many.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from demo_events import drawn_events, shouted
from demo_parts import EWMS, DemoFailed, run, say, until
from demo_real_stack import LOCATIONS, RealStack

from ewms.wms.v1.workflow_pb2 import WORKFLOW_STATE_ACTIVE
from ewms_client import AsyncClient, ClientError, DeliveryLost, Event, QueueGone, WorkflowView

__all__ = ["RealWorkflow"]

_FILE = Path(__file__).resolve().parent.parent / "examples" / "two-schedds.json"
_LARGEST = 16 * 1024
_PATIENCE = 120.0
_NAME = "filename"


class RealWorkflow:
    """A context manager: left before the workflow has ended, it aborts it and removes its jobs."""

    def __init__(self, stack: RealStack, n_events: int) -> None:
        self.events = drawn_events(n_events, _LARGEST)
        self.n_results = 0
        self._stack = stack
        self._client = AsyncClient(stack.wms)
        self._right: set[str] = set()
        self._wrong: list[str] = []
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._logs: dict[str, Path] = {}
        self._queues: set[str] = set()
        self._id = ""
        self._is_over = False

    async def __aenter__(self) -> RealWorkflow:
        return self

    async def __aexit__(self, *exc: object) -> None:
        try:
            if self._id and not self._is_over:
                await self._abandon()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._client.close()

    async def submit(self) -> None:
        """Submit it, show its progress from now on, and read its results as they come."""
        self._id = (await self._ewms("submit", str(_FILE))).split()[-1]
        say(f"submitted {_FILE.name}: {self._id}, five workers on each schedd")
        self._tasks = [asyncio.create_task(self._show()), asyncio.create_task(self._consume())]
        granted = await self._client.wait_for(self._id, WORKFLOW_STATE_ACTIVE, timeout=_PATIENCE)
        self._queues = {queue.mqid for queue in granted.queues.values()}

    async def until_work_begins(self) -> None:
        """Until workers run on each schedd; all ten, unless others have the pool's slots."""
        view = await self._client.wait_for(
            self._id, lambda view: all(_n_running_each(view).values()), timeout=_PATIENCE
        )
        say(f"workers run: {_n_running_each(view)}")

    async def publish(self, events: Mapping[str, bytes]) -> None:
        """Send events; confirmed by RabbitMQ when this returns."""
        size = sum(map(len, events.values()))
        say(f"publishing {len(events)} events, {size:,} bytes")
        drafts = [Event(content, {_NAME: name}) for name, content in events.items()]
        await self._client.publish(self._id, "raw", drafts)
        say(f"{len(events)} events are confirmed")

    async def until_results(self, wanted: int) -> None:
        """Until so many events have a right result."""
        while len(self._right) < wanted:
            self._news.clear()
            waiting = asyncio.ensure_future(self._news.wait())
            done, _ = await asyncio.wait(
                [waiting, *self._tasks], timeout=_PATIENCE, return_when="FIRST_COMPLETED"
            )
            waiting.cancel()
            for task in done.intersection(self._tasks):
                task.result()
                raise DemoFailed("watching or reading ended before the workflow")
            if not done:
                raise DemoFailed(f"no result for {_PATIENCE:g} s: {len(self._right)} of {wanted}")

    async def finish(self) -> None:
        """All results; then the user says that it is finished."""
        await self._all_results()
        # A result is there before its event is acknowledged.
        await until(self._is_idle, 30, "events are left in the queues")
        await self._ewms("finish", self._id)
        await self._end("FINISHED")

    async def succeed(self) -> None:
        """All results; the input is closed, and the workflow ends by itself."""
        await self._all_results()
        await self._ewms("close", self._id, "raw")
        await self._end("SUCCEEDED")

    async def check_nothing_is_left(self) -> None:
        """Raise DemoFailed if a queue or a job is left, or a taskforce was started twice."""
        await until(self._has_no_queue, 60, "queues are left on RabbitMQ")
        say(f"the {len(self._queues)} queues are released")
        await until(self._has_no_job, 60, "jobs are left on the schedds")
        clusters = await self._stack.pool.clusters({*self._logs}, ended=True)
        submissions = self._submissions()
        if len(clusters) != len(self._logs) or submissions != dict.fromkeys(self._logs, 1):
            raise DemoFailed(f"not one cluster each: {sorted(clusters)}, {submissions}")
        for schedd, taskforce, cluster in sorted(clusters):
            say(f"{taskforce} was cluster {cluster} of {schedd}, and nothing else")
        say("the schedds have no job any more")

    async def _all_results(self) -> None:
        await self.until_results(len(self.events))
        repeats = self.n_results - len(self._right)
        say(f"{len(self._right)} results, each checked against its event: all right")
        if repeats:
            say(f"{repeats} of them came more than once")

    async def _end(self, state: str) -> None:
        watching = self._tasks[0]
        await asyncio.wait_for(watching, _PATIENCE)
        shown = json.loads(await self._ewms("show", self._id, "--json"))
        found = str(shown["workflow"]["state"]).removeprefix("WORKFLOW_STATE_")
        if found != state:
            raise DemoFailed(f"{self._id} is {found}, not {state}")
        self._is_over = True
        await self._list_taskforces()
        say(f"{self._id} is {state}")

    async def _list_taskforces(self) -> None:
        async for taskforce in self._client.list_taskforces(f'workflow_id = "{self._id}"'):
            self._logs[taskforce.taskforce_uuid] = Path(taskforce.job_event_log_fpath)

    async def _consume(self) -> None:
        # Until the queue is gone: a repeat that nobody reads would keep it.
        with contextlib.suppress(QueueGone):
            async with self._client.consume(self._id, "shouted") as deliveries:
                async for delivery in deliveries:
                    self._check(delivery.headers.get(_NAME, ""), delivery.payload)
                    with contextlib.suppress(DeliveryLost):
                        await delivery.ack()

    def _check(self, name: str, result: bytes) -> None:
        if name not in self.events or shouted(self.events[name]) != result:
            raise DemoFailed(f"a result that is wrong: {name or 'of no event'}")
        self._right.add(name)
        self.n_results += 1
        self._news.set()

    async def _show(self) -> None:
        process = await asyncio.create_subprocess_exec(
            EWMS, "watch", self._id, "--wms", self._stack.wms, start_new_session=True,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        try:
            async for line in process.stdout:
                sys.stdout.write(f"            {line.decode()}")
                sys.stdout.flush()
            if code := await process.wait():
                raise DemoFailed(f"`ewms watch` ended with {code}")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    def _submissions(self) -> dict[str, int]:
        """How many clusters each taskforce had by HTCondor's event log, even if none ran."""
        # Events end with a line of three dots, and 035 is a cluster's submission.
        events = [
            event for log in {*self._logs.values()} for event in log.read_text().split("...\n")
        ]
        submitted = [event for event in events if event.startswith("035 ")]
        return {uuid: sum(uuid in event for event in submitted) for uuid in self._logs}

    async def _is_idle(self) -> bool:
        lines = (await self._ewms("queues", self._id, "--json")).splitlines()
        counts = [found for line in lines if "depth" in (found := json.loads(line))]
        busy = [count for count in counts if int(count["depth"]) or int(count["in_flight"])]
        return bool(counts) and not busy

    async def _has_no_queue(self) -> bool:
        return self._queues.isdisjoint(await self._stack.rabbit.queues())

    async def _has_no_job(self) -> bool:
        return not await self._stack.pool.clusters({*self._logs}, ended=False)

    async def _abandon(self) -> None:
        """Abort the workflow; what the system does not remove within a while is removed here."""
        say(f"aborting {self._id}")
        try:
            async with asyncio.timeout(30):
                await self._list_taskforces()
                with contextlib.suppress(ClientError):
                    await self._client.abort(self._id)
                await self._client.wait_for(self._id, lambda view: view.is_settled)
        except (ClientError, TimeoutError) as error:
            say(f"the workflow does not end: {error or 'not within 30 s'}")
        await self._stack.pool.remove_jobs({*self._logs})

    async def _ewms(self, *command: str) -> str:
        return await run(self._stack.folder, EWMS, *command, "--wms", self._stack.wms)


def _n_running_each(view: WorkflowView) -> dict[str, int]:
    """The workers that run at each location."""
    running = dict.fromkeys(LOCATIONS, 0)
    for taskforce in view.taskforces.values():
        if "RUNNING" in taskforce.compound_statuses:
            counts = taskforce.compound_statuses["RUNNING"].counts
            running[taskforce.cluster_location] += sum(counts.values())
    return running
