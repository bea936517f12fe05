"""Users at work: each story is one workflow from its submission to its end, told by clients that
record what they do and see.

Stories differ by their kind, all drawn from one seed: queues that are closed until the workflow
succeeds by itself, results that are all read before it is finished, an abort at any moment; with
one task or a chain of two, with workers added on the way or a pause. A feed watcher and a lister
look at all of them meanwhile.
"""

from __future__ import annotations

import asyncio
import random
import shlex
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from callers import Caller, Refused, Wms, follow_feed, follow_workflow
from history import Acknowledged, Consumed, Final, History, Offered
from validation import missing_in_feed

from ewms.wms.v1 import (
    task_directive_service_pb2,
    task_pb2,
    taskforce_service_pb2,
    workflow_service_pb2,
)
from ewms_client import AsyncClient, DeliveryLost, Event, Unavailable

__all__ = ["Plan", "Story", "Traffic", "plan_story"]

_TASK = Path(__file__).with_name("ledger_task.py")
_LIST_SECONDS = 0.3
_DEAD_LETTER_SECONDS = 3.0
_SETTLE_SECONDS = 120.0
_INPUT, _BETWEEN, _OUTPUT = "in", "between", "out"

Ending = Literal["close", "finish", "abort"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a story does. `pace`: seconds between events; `task_seconds`: how long a task takes."""

    number: int
    ending: Ending
    task_names: tuple[str, ...]
    n_events: int
    n_workers: int
    locations: tuple[str, ...]
    pace: float
    task_seconds: float
    adds_workers: bool
    pauses: bool


def plan_story(number: int, rng: random.Random) -> Plan:
    """A story that fits between a few faults."""
    n_tasks = rng.choice((1, 1, 2))
    return Plan(
        number=number,
        ending=rng.choice(("close", "close", "finish", "finish", "abort")),
        task_names=tuple("ab"[:n_tasks]),
        n_events=rng.randint(15, 40),
        n_workers=rng.randint(1, 2),
        locations=tuple(rng.choice(("local", "sub-2")) for _ in range(n_tasks)),
        pace=rng.uniform(0.0, 0.15),
        task_seconds=rng.choice((0.0, 0.05, 0.15)),
        adds_workers=rng.random() < 0.3,
        pauses=rng.random() < 0.2,
    )


class Story:
    """One workflow's users."""

    def __init__(
        self, plan: Plan, wms: Wms, addresses: list[str], history: History, ledger: Path
    ) -> None:
        self.plan = plan
        self.workflow_id = ""
        self._name = f"story-{plan.number}"
        self._wms, self._history, self._ledger = wms, history, ledger
        self._address = addresses[plan.number % len(addresses)]
        self._caller = Caller(wms, history, self._name)
        self._wanted: set[str] = set()
        self._consumed = asyncio.Event()

    async def run(self) -> None:
        """From the submission until the workflow has settled and both watches have ended."""
        submission = self._submission()
        answer = await self._call("SubmitWorkflow", submission)
        # A user who lost the answer asks again, and must not get a second workflow.
        await self._call("SubmitWorkflow", submission)
        workflow_id = self.workflow_id = answer.workflow.workflow_id
        async with asyncio.TaskGroup() as group:
            watching = [
                group.create_task(
                    follow_workflow(
                        self._wms, self._history, f"{self._name}/{watcher}", workflow_id
                    )
                )
                for watcher in ("watch-1", "watch-2")
            ]
            await self._live(answer.task_directives)
            async with asyncio.timeout(_SETTLE_SECONDS):
                await asyncio.gather(*watching)
        await self._record_final()

    def _submission(self) -> Any:
        plan = self.plan
        aliases = (_INPUT, *(_BETWEEN for _ in plan.task_names[1:]), _OUTPUT)
        tasks = [
            task_pb2.TaskSpec(
                name=name,
                cluster_locations=[plan.locations[index]],
                input_queue_aliases=[aliases[index]],
                output_queue_aliases=[aliases[index + 1]],
                task_image="docker://docker.io/library/python:3.13-slim",
                task_args=self._command(name),
                n_workers=plan.n_workers,
                worker_config=task_pb2.WorkerConfig(
                    worker_memory="256M", do_transfer_worker_stdouterr=True
                ),
            )
            for index, name in enumerate(plan.task_names)
        ]
        return workflow_service_pb2.SubmitWorkflowRequest(
            public_queue_aliases=[_INPUT, _OUTPUT],
            tasks=tasks,
            name=self._name,
            labels={"story": str(plan.number)},
            request_id=f"submit-{self._name}",
        )

    def _command(self, task_name: str) -> str:
        words = (
            *(sys.executable, "-S", "-E", str(_TASK), "{{INFILE}}", "{{OUTFILE}}"),
            *(str(self._ledger), task_name, str(self.plan.task_seconds)),
        )
        return shlex.join(words)

    async def _live(self, directives: Any) -> None:
        async with AsyncClient(self._address, patience=_SETTLE_SECONDS) as client:
            consuming = asyncio.create_task(self._consume(client))
            publishing = asyncio.create_task(self._publish(client))
            try:
                await self._steer(directives)
                await self._end(publishing, consuming)
            finally:
                for task in (publishing, consuming):
                    task.cancel()
                await asyncio.gather(publishing, consuming, return_exceptions=True)

    async def _end(self, publishing: asyncio.Task[None], consuming: asyncio.Task[None]) -> None:
        match self.plan.ending:
            case "close":
                await publishing
                await self._call(
                    "CloseQueue",
                    workflow_service_pb2.CloseQueueRequest(
                        workflow_id=self.workflow_id,
                        alias=_INPUT,
                        request_id=f"close-{self._name}",
                    ),
                )
                await consuming
            case "finish":
                await publishing
                await self._all_consumed(consuming)
                request = workflow_service_pb2.FinishWorkflowRequest(
                    workflow_id=self.workflow_id, request_id=f"finish-{self._name}"
                )
                await self._call("FinishWorkflow", request)
                await self._call("FinishWorkflow", request)
            case "abort":
                await asyncio.sleep(self.plan.pace * self.plan.n_events)
                await self._call(
                    "AbortWorkflow",
                    workflow_service_pb2.AbortWorkflowRequest(
                        workflow_id=self.workflow_id, request_id=f"abort-{self._name}"
                    ),
                )

    async def _steer(self, directives: Any) -> None:
        """What users do beside: more workers, a pause. Before the end, so that none is refused."""
        plan = self.plan
        if plan.ending == "abort":
            return
        if plan.pauses:
            workflow = {"workflow_id": self.workflow_id}
            await self._call(
                "PauseWorkflow",
                workflow_service_pb2.PauseWorkflowRequest(
                    **workflow, hold_running=plan.adds_workers, request_id=f"pause-{self._name}"
                ),
            )
            await self._call(
                "ResumeWorkflow",
                workflow_service_pb2.ResumeWorkflowRequest(
                    **workflow, request_id=f"resume-{self._name}"
                ),
            )
        if plan.adds_workers:
            await self._caller.ask(
                "directives",
                "AddWorkers",
                task_directive_service_pb2.AddWorkersRequest(
                    task_id=directives[0].task_id,
                    cluster_location="local",
                    n_workers=1,
                    request_id=f"add-{self._name}",
                ),
            )

    async def _publish(self, client: AsyncClient) -> None:
        plan = self.plan
        events = [
            Event(
                f"{self._name}.{number}".encode(), event_id=f"{self._name}.{number}.id"
            )
            for number in range(plan.n_events)
        ]  # fmt: skip
        n_confirmed = 0
        while n_confirmed < len(events):
            waiting = events[n_confirmed:]
            before = n_confirmed

            def note(count: int, before: int = before) -> None:
                nonlocal n_confirmed
                for event in events[n_confirmed : before + count]:
                    self._offered(event, is_confirmed=True)
                n_confirmed = before + count

            with suppress(Unavailable):
                await client.publish(
                    self.workflow_id, _INPUT, self._paced(waiting), on_confirmed=note
                )

    async def _paced(self, events: list[Event]) -> AsyncIterator[Event]:
        for event in events:
            self._offered(event, is_confirmed=False)
            yield event
            await asyncio.sleep(self.plan.pace)

    def _offered(self, event: Event, *, is_confirmed: bool) -> None:
        payload = event.payload.decode()
        if is_confirmed:
            self._wanted.add(payload)
        self._history.add(
            Offered(
                client=f"{self._name}/publisher", workflow_id=self.workflow_id, alias=_INPUT,
                event_id=event.event_id, payload=payload, is_confirmed=is_confirmed,
            )
        )  # fmt: skip

    async def _consume(self, client: AsyncClient) -> None:
        """Until the queue is drained."""
        while True:
            with suppress(Unavailable):
                async with client.consume(self.workflow_id, _OUTPUT, credit=4) as deliveries:
                    async for delivery in deliveries:
                        await self._take(delivery)
                    return

    async def _take(self, delivery: Any) -> None:
        payload = delivery.payload.decode()
        whose = {
            "client": f"{self._name}/consumer",
            "workflow_id": self.workflow_id,
            "alias": _OUTPUT,
            "event_id": delivery.event_id,
            "delivery_id": delivery.delivery_id,
        }
        self._history.add(Consumed(**whose, n_deliveries=delivery.n_deliveries, payload=payload))
        self._wanted.discard(payload.partition("|")[0])
        self._consumed.set()
        is_lost = False
        try:
            await delivery.ack()
        except DeliveryLost:
            is_lost = True
        self._history.add(Acknowledged(**whose, is_lost=is_lost))

    async def _all_consumed(self, consuming: asyncio.Task[None]) -> None:
        """Until every confirmed event has come, or is among the dead letters."""
        while self._wanted:
            if consuming.done():
                consuming.result()
            self._consumed.clear()
            try:
                async with asyncio.timeout(_DEAD_LETTER_SECONDS):
                    await self._consumed.wait()
            except TimeoutError:
                self._wanted -= set(await self._dead_payloads())

    async def _dead_payloads(self) -> list[str]:
        request = workflow_service_pb2.ListDeadLettersRequest(
            workflow_id=self.workflow_id, alias=_INPUT
        )
        try:
            letters = await self._caller.each(
                "workflows", "ListDeadLetters", request, "dead_letters"
            )
        except Refused as refused:
            # A queue of which nothing is left goes when its workflow has settled.
            if refused.code != "NOT_FOUND":
                raise
            return []
        return [letter.payload.decode() for letter in letters]

    async def _record_final(self) -> None:
        request = workflow_service_pb2.GetWorkflowRequest(workflow_id=self.workflow_id)
        taskforces = taskforce_service_pb2.ListTaskforcesRequest(
            filter=f'workflow_id = "{self.workflow_id}"'
        )
        entries = workflow_service_pb2.ListWorkflowHistoryRequest(workflow_id=self.workflow_id)
        each = self._caller.each
        # Dead letters first: they may be counted into `attention` at any time before.
        dead = await self._dead_payloads()
        self._history.add(
            Final(
                client=self._name,
                workflow_id=self.workflow_id,
                workflow=(await self._call("GetWorkflow", request)).workflow,
                taskforces=tuple(
                    await each("taskforces", "ListTaskforces", taskforces, "taskforces")
                ),
                entries=tuple(await each("workflows", "ListWorkflowHistory", entries, "entries")),
                dead_payloads=tuple(dead),
            )
        )

    async def _call(self, method: str, request: Any) -> Any:
        return await self._caller.ask("workflows", method, request)


class Traffic:
    """So many stories at a time, and who looks at them all. `stories` are those that began."""

    def __init__(
        self, addresses: list[str], history: History, ledger: Path, rng: random.Random
    ) -> None:
        self.stories: list[Story] = []
        self._addresses, self._history, self._ledger, self._rng = addresses, history, ledger, rng
        self._ending = asyncio.Event()

    def end(self) -> None:
        """Begin no story any more."""
        self._ending.set()

    async def run(self, n_at_once: int) -> None:
        """Until `end`, and until every story that began has come to its own."""
        async with Wms(self._addresses) as wms, asyncio.TaskGroup() as group:
            beside = [
                group.create_task(follow_feed(wms, self._history, "feed")),
                group.create_task(self._list(wms)),
            ]
            async with asyncio.TaskGroup() as telling:
                for _ in range(n_at_once):
                    telling.create_task(self._tell(wms))
            await self._until_fed()
            for task in beside:
                task.cancel()

    async def _tell(self, wms: Wms) -> None:
        while not self._ending.is_set():
            plan = plan_story(len(self.stories), self._rng)
            story = Story(plan, wms, self._addresses, self._history, self._ledger)
            self.stories.append(story)
            await story.run()

    async def _list(self, wms: Wms) -> None:
        caller = Caller(wms, self._history, "lister")
        request = workflow_service_pb2.ListWorkflowsRequest(page_size=100)
        while True:
            await caller.ask("workflows", "ListWorkflows", request)
            await asyncio.sleep(_LIST_SECONDS)

    async def _until_fed(self) -> None:
        """Until the feed's watcher has seen what the others have, or clearly never will."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE_SECONDS):
                while missing_in_feed(self._history):
                    await self._history.next_record()
