"""One firing of a net: everything that news of it mean, in one transaction and one revision.

Successors are counted down in batches, and what they enable fires within the transaction, for as
long as something is enabled: a long chain of noops is one transaction. Of what a beginning finds
enabled a bounded number is fired at a time. Who is killed in between has changed nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from wms_grpc.domain.firing import (
    SUCCESS,
    Verdict,
    next_try_at,
    verdict_of_batch,
    verdict_of_containers,
)
from wms_grpc.domain.ids import TaskforceId, WorkflowId
from wms_grpc.domain.model import (
    Cause,
    Phase,
    TaskDirective,
    Taskforce,
    TaskState,
    WorkflowState,
)
from wms_grpc.domain.net_plan import JOIN
from wms_grpc.domain.submission import ClusterLocation, ClusterLocations
from wms_grpc.domain.tasks import BatchWork, WaitWork
from wms_grpc.domain.translation import new_taskforce
from wms_grpc.domain.words import first_few
from wms_grpc.storage import lifecycle, nets, taskforces
from wms_grpc.storage.nets import Enabled, Occurrence
from wms_grpc.storage.queues import save_directives
from wms_grpc.storage.revision_write import BEGIN
from wms_grpc.storage.revisions import Revision, RevisionSet
from wms_grpc.storage.store import Store

__all__ = ["fire"]

_MOST_FIRINGS: Final = 5_000
_MOST_NAMED: Final = 5


async def fire(store: Store, locations: ClusterLocations) -> bool:
    """Fire what is to be fired of one net; False when there is none that is free."""
    async with store.revising([]) as revisions:
        workflow_id = await nets.claim_net(revisions.tx)
        if workflow_id is None:
            return False
        await revisions.lock([workflow_id])
        news = await nets.take_news(revisions.tx, workflow_id)
        workflow = revisions[workflow_id].workflow
        if workflow.state in (WorkflowState.ACTIVE, WorkflowState.PAUSED):
            await _Firing(revisions, workflow_id, locations).run(news)
    return True


class _Firing:
    def __init__(
        self, revisions: RevisionSet, workflow_id: WorkflowId, locations: ClusterLocations
    ) -> None:
        self._revisions = revisions
        self._tx = revisions.tx
        self._workflow_id = workflow_id
        self._locations = locations
        self._before: dict[int, TaskDirective] = {}
        self._after: dict[int, TaskDirective] = {}
        self._occurrences: dict[int, Occurrence] = {}
        self._changed: dict[int, Occurrence] = {}
        self._new_taskforces: list[Taskforce] = []
        self._serves: dict[int, int] = {}
        self._signalled: set[int] = set()
        self._done: list[int] = []
        self._n_active = 0
        self._n_failures = 0

    @property
    def _revision(self) -> Revision:
        return self._revisions[self._workflow_id]

    @property
    def _now(self) -> datetime:
        return self._revision.now

    @property
    def _is_paused(self) -> bool:
        return self._revision.workflow.state is WorkflowState.PAUSED

    async def run(self, news: Iterable[tuple[int, str]]) -> None:
        """Do all that the news and the timers mean, and write it."""
        told: dict[int, set[str]] = defaultdict(set)
        for transition, what in news:
            told[transition].add(what)
        is_beginning = BEGIN in told.pop(-1, set())
        due = set() if self._is_paused else set(await nets.take_due(self._tx, self._workflow_id))
        concerned = told.keys() | due
        await self._read(concerned)
        await self._end_tries(told, due)
        n_fired = await self._fire_on()
        if is_beginning and not self._is_paused:
            n_fired += await self._begin(_MOST_FIRINGS - n_fired)
        await self._write()
        await self._end_if_quiet()

    async def _read(self, numbers: Iterable[int]) -> None:
        """Read tasks that may have started, or be the recoveries of others."""
        if unread := await self._read_tasks(numbers):
            self._serves |= await nets.served_by(self._tx, self._workflow_id, unread)
            self._occurrences |= await nets.occurrences(self._tx, self._workflow_id, unread)

    async def _read_tasks(self, numbers: Iterable[int]) -> list[int]:
        """Read tasks, with the signals that have come for them; return which were not read yet."""
        unread = [number for number in numbers if number not in self._after]
        found = await nets.directives(self._revisions, self._workflow_id, unread)
        self._before |= found
        self._after |= found
        waiting = [number for number, task in found.items() if isinstance(task.work, WaitWork)]
        self._signalled |= await nets.signalled(self._tx, self._workflow_id, waiting)
        return unread

    async def _end_tries(self, told: Mapping[int, set[str]], due: set[int]) -> None:
        running = [
            number
            for number in told.keys() | due
            if number in self._occurrences and not self._occurrences[number].is_over
        ]
        if not running:
            return
        by_task: dict[str, list[Taskforce]] = defaultdict(list)
        task_ids = [self._after[number].task_id for number in running]
        for taskforce in await taskforces.lock_of_tasks(self._revisions, task_ids):
            by_task[taskforce.task_id].append(taskforce)
        for number in sorted(running):
            directive = self._after[number]
            if directive.state is TaskState.RETRYING:
                if number in due:
                    await self._start(directive)
                continue
            verdict = self._verdict(
                directive,
                by_task[directive.task_id],
                is_over=number in due or number in self._signalled,
            )
            if verdict is not None:
                await self._ended(directive, verdict)

    def _verdict(
        self, directive: TaskDirective, own: list[Taskforce], *, is_over: bool
    ) -> Verdict | None:
        match directive.work:
            case None:
                return verdict_of_containers(directive, own)
            case BatchWork():
                uuid = self._occurrences[directive.number].taskforce_uuid
                taskforce = next((t for t in own if t.taskforce_uuid == uuid), None)
                if taskforce is None or not taskforce.phase.has_ended:
                    return None
                return verdict_of_batch(directive, taskforce)
        return SUCCESS if is_over else None

    async def _ended(self, directive: TaskDirective, verdict: Verdict) -> None:
        number = directive.number
        if verdict.is_success:
            self._set(directive, TaskState.SUCCEEDED, "")
            self._over(number)
            await self._succeeded(directive)
            return
        due = next_try_at(directive.recovery, directive.n_tries, verdict, self._now)
        if due is not None:
            self._set(directive, TaskState.RETRYING, verdict.reason)
            self._note(replace(self._occurrences[number], taskforce_uuid=None, due_at=due))
            return
        self._over(number)
        await self._failed(directive, verdict.reason)

    async def _succeeded(self, directive: TaskDirective) -> None:
        """Mark the places behind a task; a fallback marks those behind the task that it serves."""
        served = self._serves.get(directive.number)
        if served is None:
            self._done.append(directive.number)
            return
        await self._read([served])
        failed = self._after[served]
        if failed.recovery and failed.recovery.then == "fallback":
            self._set(failed, TaskState.SKIPPED, f"{failed.state_reason}; {directive.name} ran")
            self._done.append(served)
        else:
            self._n_failures += 1

    async def _failed(self, directive: TaskDirective, reason: str) -> None:
        """Recover as the task says, or let its failure stand; so does one of a recovery itself."""
        recovery = directive.recovery
        if recovery and recovery.then == "skip":
            self._set(directive, TaskState.SKIPPED, reason)
            await self._succeeded(directive)
            return
        self._set(directive, TaskState.FAILED, reason)
        if recovery and recovery.then in ("fallback", "compensate"):
            numbers = await nets.numbers_of(self._tx, self._workflow_id, [recovery.task])
            await self._read(numbers.values())
            await self._start(self._after[numbers[recovery.task]])
        else:
            self._n_failures += 1

    async def _fire_on(self) -> int:
        """Fire what is enabled by what is done, for as long as something is; return how many."""
        n_fired = 0
        while self._done:
            done, self._done = self._done, []
            n_fired += await self._fire(await nets.count_down(self._tx, self._workflow_id, done))
        return n_fired

    async def _begin(self, most: int) -> int:
        """Fire what is enabled by itself."""
        self._save_directives()
        first = await nets.enabled(self._revisions, self._workflow_id, max(0, most))
        return await self._fire(first) + await self._fire_on()

    async def _fire(self, fired: list[Enabled]) -> int:
        tasks = [e.number for e in fired if e.kind != JOIN]
        self._done += [e.number for e in fired if e.kind == JOIN]
        if self._is_paused:
            return len(fired)
        # Nothing of them has occurred yet, and no recovery is enabled by what others do.
        await self._read_tasks(tasks)
        for number in tasks:
            await self._start(self._after[number])
        return len(fired)

    async def _start(self, directive: TaskDirective) -> None:
        number, is_retry = directive.number, directive.state is TaskState.RETRYING
        started = self._set(
            replace(directive, n_tries=directive.n_tries + 1), TaskState.RUNNING, ""
        )
        occurrence = Occurrence(number, started.n_tries)
        self._n_active += not is_retry
        is_over = False
        match started.work:
            case None if started.is_done:
                # Its inputs were drained before it was its turn.
                is_over = True
            case None:
                self._add_containers(started, is_retry=is_retry)
            case BatchWork():
                occurrence = replace(occurrence, taskforce_uuid=self._add_batch(started))
            case WaitWork(seconds=None):
                is_over = number in self._signalled
            case WaitWork():
                due = self._now + timedelta(seconds=started.work.seconds or 0.0)
                occurrence = replace(occurrence, due_at=due)
            case _:
                is_over = True
        self._note(occurrence)
        if is_over:
            await self._ended(started, SUCCESS)

    def _add_batch(self, directive: TaskDirective) -> TaskforceId:
        location = self._location(directive.cluster_locations[0])
        taskforce = self._taskforce(directive, location, directive.n_tries - 1)
        self._new_taskforces.append(taskforce)
        return taskforce.taskforce_uuid

    def _add_containers(self, directive: TaskDirective, *, is_retry: bool) -> None:
        # The submission has made those of tasks that wait for nobody.
        if not is_retry and not directive.depends_on and directive.number not in self._serves:
            return
        first = (directive.n_tries - 1) * len(directive.cluster_locations)
        for number, name in enumerate(directive.cluster_locations):
            self._new_taskforces.append(
                self._taskforce(directive, self._location(name), first + number)
            )

    def _location(self, name: str) -> ClusterLocation:
        # One that the operator has taken away since: launched by nobody, and told as waiting.
        return self._locations.find(name) or ClusterLocation(name, name)

    def _taskforce(
        self, directive: TaskDirective, location: ClusterLocation, number: int
    ) -> Taskforce:
        return new_taskforce(
            directive,
            location,
            number,
            priority=self._revision.workflow.priority,
            phase=Phase.PRE_LAUNCH,
            cause=Cause("engine", f"try {directive.n_tries} of task {directive.name}"),
            now=self._now,
        )

    def _set(self, directive: TaskDirective, state: TaskState, reason: str) -> TaskDirective:
        changed = replace(directive, state=state, state_reason=reason)
        self._after[directive.number] = changed
        self._revision.record(
            "TASK",
            directive.task_id,
            state.lower(),
            Cause("engine", reason or (f"try {changed.n_tries}" if changed.n_tries else "")),
            was_successful=state is not TaskState.FAILED,
        )
        return changed

    def _over(self, number: int) -> None:
        self._note(replace(self._occurrences[number], is_over=True, due_at=None))
        self._n_active -= 1

    def _note(self, occurrence: Occurrence) -> None:
        self._occurrences[occurrence.transition] = occurrence
        self._changed[occurrence.transition] = occurrence

    def _save_directives(self) -> None:
        save_directives(
            self._revisions,
            {d.task_id: d for d in self._before.values()},
            list(self._after.values()),
        )
        self._before = dict(self._after)

    async def _write(self) -> None:
        self._save_directives()
        await nets.save_occurrences(self._tx, self._workflow_id, list(self._changed.values()))
        await taskforces.insert(self._revisions, self._new_taskforces)
        revision = self._revision
        revision.workflow = replace(
            revision.workflow,
            n_active=revision.workflow.n_active + self._n_active,
            n_failures=revision.workflow.n_failures + self._n_failures,
        )

    async def _end_if_quiet(self) -> None:
        """End the workflow once nothing runs, nothing is enabled, and no timer is set."""
        workflow = self._revision.workflow
        if workflow.n_active:
            return
        if await nets.enabled(self._revisions, self._workflow_id, most=1):
            if not self._is_paused:
                self._revisions.tell_engine(self._workflow_id, BEGIN)
            return
        if not workflow.n_failures:
            cause = Cause("engine", "every task is done")
            await lifecycle.end_workflow(
                self._revisions, self._workflow_id, WorkflowState.SUCCEEDED, cause
            )
            return
        failed = await nets.failed_tasks(self._revisions, self._workflow_id, _MOST_NAMED + 1)
        told = first_few([f"{d.name} ({d.state_reason})" for d in failed], _MOST_NAMED)
        await lifecycle.end_workflow(
            self._revisions, self._workflow_id, WorkflowState.FAILED, Cause("engine", told)
        )
