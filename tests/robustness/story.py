"""One workflow's users: from its submission to its end, with every call, event and watch recorded.

Stories differ by their kind, all drawn from one seed: queues that are closed until the workflow
succeeds by itself, results that are all read before it is finished, an abort at any moment; with
one task or a chain of two, with workers added on the way or a pause.
"""

from __future__ import annotations

import asyncio
import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from callers import Caller, Refused, Wms, follow_workflow
from event_users import INPUT, OUTPUT, EventUsers
from event_validation import origin_of
from history import Final, History
from model import phase_name
from plans import Plan

from ewms.wms.v1 import (
    task_directive_service_pb2,
    task_pb2,
    taskforce_service_pb2,
    workflow_service_pb2,
)
from ewms_client import AsyncClient

__all__ = ["Story"]

_TASK = Path(__file__).with_name("ledger_task.py")
_DEAD_LETTER_SECONDS = 3.0
_ATTENTION_SECONDS = 5.0
_OUT_OF_WORK = ("HELD", "COMPLETED", "REMOVED")
_SETTLE_SECONDS = 120.0
_BETWEEN = "between"


def may_work(taskforce: Any) -> bool:
    """Whether a worker of it runs, or will by itself."""
    if phase_name(taskforce.phase) in ("CONDOR_COMPLETE", "FAILED"):
        return False
    statuses = taskforce.compound_statuses
    return not statuses or any(not status.startswith(_OUT_OF_WORK) for status in statuses)


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
        self._aliases = (INPUT, *(_BETWEEN for _ in plan.task_names[1:]), OUTPUT)
        self._dead: set[str] = set()

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
            attending = group.create_task(self._attend(answer.task_directives))
            try:
                await self._live(answer.task_directives)
            finally:
                attending.cancel()
            async with asyncio.timeout(_SETTLE_SECONDS):
                await asyncio.gather(*watching)
        await self._record_final()

    def _submission(self) -> Any:
        plan = self.plan
        aliases = self._aliases
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
            public_queue_aliases=[INPUT, OUTPUT],
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
            users = EventUsers(client, self._history, self._name, self.workflow_id, self.plan)
            consuming = asyncio.create_task(users.consume())
            publishing = asyncio.create_task(users.publish())
            try:
                await self._steer(directives)
                await self._end(users, publishing, consuming)
            finally:
                for task in (publishing, consuming):
                    task.cancel()
                await asyncio.gather(publishing, consuming, return_exceptions=True)

    async def _end(
        self, users: EventUsers, publishing: asyncio.Task[None], consuming: asyncio.Task[None]
    ) -> None:
        match self.plan.ending:
            case "close":
                await publishing
                await self._call(
                    "CloseQueue",
                    workflow_service_pb2.CloseQueueRequest(
                        workflow_id=self.workflow_id,
                        alias=INPUT,
                        request_id=f"close-{self._name}",
                    ),
                )
                await consuming
            case "finish":
                await publishing
                await self._all_consumed(users, consuming)
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
            await self._add_worker(directives[0].task_id, "early")

    async def _all_consumed(self, users: EventUsers, consuming: asyncio.Task[None]) -> None:
        """Until every confirmed event has come, or is among the dead letters."""
        while users.missing - {origin_of(payload) for payload in self._dead}:
            if consuming.done():
                consuming.result()
            if not await users.next_arrival(_DEAD_LETTER_SECONDS):
                await self._dead_payloads()

    async def _attend(self, directives: Any) -> None:
        """Add a worker to a task whose workers are all held: one that is killed too often is."""
        request = taskforce_service_pb2.ListTaskforcesRequest(
            filter=f'workflow_id = "{self.workflow_id}"'
        )
        while True:
            await asyncio.sleep(_ATTENTION_SECONDS)
            taskforces = await self._caller.each(
                "taskforces", "ListTaskforces", request, "taskforces"
            )
            for task in directives:
                mine = [force for force in taskforces if force.task_id == task.task_id]
                if not any(may_work(force) for force in mine):
                    with suppress(Refused):
                        # Refused where the task is done, or its workflow has ended meanwhile.
                        await self._add_worker(task.task_id, f"{task.name}-{len(mine)}")

    async def _add_worker(self, task_id: str, name: str) -> None:
        await self._caller.ask(
            "directives",
            "AddWorkers",
            task_directive_service_pb2.AddWorkersRequest(
                task_id=task_id,
                cluster_location="local",
                n_workers=1,
                request_id=f"add-{self._name}-{name}",
            ),
        )

    async def _dead_payloads(self) -> set[str]:
        self._dead.update(
            [
                letter.payload.decode()
                for alias in self._aliases[:-1]
                for letter in await self._dead_letters(alias)
            ]
        )
        return self._dead

    async def _dead_letters(self, alias: str) -> list[Any]:
        request = workflow_service_pb2.ListDeadLettersRequest(
            workflow_id=self.workflow_id, alias=alias
        )
        try:
            return await self._caller.each("workflows", "ListDeadLetters", request, "dead_letters")
        except Refused as refused:
            # A queue of which nothing is left goes when its workflow has settled.
            if refused.code != "NOT_FOUND":
                raise
            return []

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
