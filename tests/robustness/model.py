"""What is allowed: a model of one workflow and of the watches on it, in plain Python.

Written from the contracts, not from the code: it shares nothing with the servers but the messages.
Each model is fed with what was seen, in order, and yields in words what must not have happened.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message

from ewms.wms.v1 import taskforce_pb2, watch_pb2, workflow_pb2

__all__ = [
    "RevisionAssembly",
    "Violation",
    "WorkflowModel",
    "difference",
    "is_terminal",
    "phase_name",
    "state_name",
]

_NEXT_STATES = {
    "PENDING": {"ACTIVE", "PAUSED", "FINISHED", "ABORTED", "FAILED"},
    "ACTIVE": {"PAUSED", "FINISHED", "ABORTED", "SUCCEEDED", "FAILED"},
    "PAUSED": {"PENDING", "ACTIVE", "FINISHED", "ABORTED", "SUCCEEDED", "FAILED"},
}
_STOPS = {"PENDING_STOPPER", "CONDOR_RM", "CONDOR_COMPLETE"}
_NEXT_PHASES = {
    "PRE_MQ_ACTIVATION": {"PRE_LAUNCH", *_STOPS},
    "PRE_LAUNCH": {"PENDING_STARTER", *_STOPS},
    "PENDING_STARTER": {"CONDOR_SUBMIT", "FAILED", *_STOPS},
    "CONDOR_SUBMIT": _STOPS,
    "PENDING_STOPPER": {"CONDOR_RM", "CONDOR_COMPLETE"},
    "CONDOR_RM": {"CONDOR_COMPLETE"},
}
_ENDED_PHASES = {"CONDOR_COMPLETE", "FAILED"}
_LOG_LENGTH = 200
# What is said once of a queue, or of a task, is never taken back.
_LASTING = ("is_activated", "is_close_requested", "is_closed", "is_drained", "is_done")


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken: its name, what it is about, and how."""

    promise: str
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{self.promise}: {self.subject}: {self.text}"


def state_name(workflow: workflow_pb2.Workflow) -> str:
    """`ACTIVE`."""
    return workflow_pb2.WorkflowState.Name(workflow.state).removeprefix("WORKFLOW_STATE_")


def phase_name(phase: taskforce_pb2.TaskforcePhase.ValueType) -> str:
    """`CONDOR_SUBMIT`."""
    return taskforce_pb2.TaskforcePhase.Name(phase).removeprefix("TASKFORCE_PHASE_")


def is_terminal(workflow: workflow_pb2.Workflow) -> bool:
    """Whether its state is final."""
    return state_name(workflow) not in _NEXT_STATES


def difference(ours: Message | None, theirs: Message | None) -> str:
    """Two messages that should be the same, line by line where they are not."""
    lines = difflib.ndiff(str(ours).splitlines(), str(theirs).splitlines())
    return " / ".join(line for line in lines if line.startswith(("+ ", "- ")))


class RevisionAssembly:
    """One stream's revisions from their parts, and the watch guarantees that one stream can break.

    `last` is the last whole revision; None before the first. `problems` holds (guarantee, text).
    """

    def __init__(self, last: int | None) -> None:
        self.last = last
        self.problems: list[tuple[str, str]] = []
        self._is_resumed = last is not None
        self._partial: watch_pb2.WorkflowRevision | None = None

    @property
    def is_whole(self) -> bool:
        """Whether no part of a revision is missing."""
        return self._partial is None

    def add(self, part: watch_pb2.WorkflowRevision) -> watch_pb2.WorkflowRevision | None:
        """The revision that is whole with this part, if any."""
        expected = (self.last or 0) + 1
        if part.revision != expected:
            self._complain(part.revision, expected)
        if self._partial is not None and self._partial.revision != part.revision:
            self._tell("Atomic", f"a part of {part.revision} within {self._partial.revision}")
            self._partial = None
        if self._partial is None:
            self._partial = watch_pb2.WorkflowRevision()
            self._partial.CopyFrom(part)
        else:
            self._partial.MergeFrom(part)
        if not part.is_last:
            return None
        whole, self._partial = self._partial, None
        self.last, self._is_resumed = whole.revision, False
        return whole

    def checkpoint(self, revision: int) -> None:
        """All up to here has been delivered, says the server."""
        if not self.is_whole:
            self._tell("Bookmarkable", f"a checkpoint at {revision} within a revision")
        elif revision != self.last:
            self._tell("Bookmarkable", f"a checkpoint at {revision}, delivered up to {self.last}")

    def _complain(self, revision: int, expected: int) -> None:
        if self._is_resumed:
            self._tell("Resumable", f"resumed after {self.last}, and {revision} came")
        elif revision > expected:
            self._tell("Reliable", f"{revision} after {self.last}")
        elif revision == self.last:
            self._tell("Unique", f"{revision} twice")
        else:
            self._tell("Ordered", f"{revision} after {self.last}")

    def _tell(self, guarantee: str, text: str) -> None:
        self.problems.append((guarantee, text))


@dataclass(slots=True)
class WorkflowModel:
    """A workflow as its revisions tell it, and whether each was allowed after those before.

    `phases` are the phase changes seen, as (revision, taskforce, phase); `states` likewise.
    """

    workflow: workflow_pb2.Workflow
    revision: int = 0
    directives: dict[str, Any] = field(default_factory=dict)
    taskforces: dict[str, taskforce_pb2.Taskforce] = field(default_factory=dict)
    queues: dict[str, workflow_pb2.Queue] = field(default_factory=dict)
    phases: list[tuple[int, str, str]] = field(default_factory=list)
    states: list[tuple[int, str]] = field(default_factory=list)

    @classmethod
    def begin(cls, snapshot: watch_pb2.WorkflowSnapshot) -> WorkflowModel:
        """From a whole snapshot."""
        return cls(
            workflow=snapshot.workflow,
            revision=snapshot.revision,
            directives={each.task_id: each for each in snapshot.task_directives},
            taskforces={each.taskforce_uuid: each for each in snapshot.taskforces},
            queues={each.alias: each for each in snapshot.queues},
        )

    def differences(self, snapshot: watch_pb2.WorkflowSnapshot) -> Iterator[str]:
        """Where a snapshot of this revision is not what the revisions led to."""
        other = WorkflowModel.begin(snapshot)
        if self.workflow != other.workflow:
            yield difference(self.workflow, other.workflow)
        for name in ("directives", "taskforces", "queues"):
            ours, theirs = getattr(self, name), getattr(other, name)
            for key in ours.keys() | theirs.keys():
                if ours.get(key) != theirs.get(key):
                    yield f"{name} {key}: {difference(ours.get(key), theirs.get(key))}"

    def apply(self, revision: watch_pb2.WorkflowRevision) -> Iterator[str]:
        """Take the next revision; what in it was not allowed."""
        self.revision = revision.revision
        before = self.workflow
        for change in revision.changes:
            kind = change.WhichOneof("resource")
            match kind:
                case "workflow":
                    yield from self._change_workflow(change.workflow)
                case "task_directive":
                    task = change.task_directive
                    yield from self._lasting(self.directives, task.task_id, task)
                case "queue":
                    yield from self._lasting(self.queues, change.queue.alias, change.queue)
                case "taskforce":
                    yield from self._change_taskforce(change.taskforce, change.previous_phase)
                case "taskforce_status":
                    yield from self._change_status(change.taskforce_status)
                case _:
                    yield f"a change without resource in {revision.revision}"
        # A revision that changes something else does not send the workflow for its number alone.
        after = workflow_pb2.Workflow()
        after.CopyFrom(self.workflow)
        after.revision = self.revision
        self.workflow = after
        if self.workflow.HasField("settled_time") and not before.HasField("settled_time"):
            yield from self._settled()

    def _change_workflow(self, workflow: workflow_pb2.Workflow) -> Iterator[str]:
        before, after = state_name(self.workflow), state_name(workflow)
        if workflow.revision != self.revision:
            yield f"the workflow says revision {workflow.revision} in {self.revision}"
        if after != before:
            self.states.append((self.revision, after))
            if after not in _NEXT_STATES.get(before, set()):
                yield f"state {before} -> {after}"
        if is_terminal(workflow) != workflow.HasField("end_time"):
            yield f"{after} with end_time {workflow.HasField('end_time')}"
        for name in ("active_time", "end_time", "settled_time"):
            if self.workflow.HasField(name) and getattr(workflow, name) != getattr(
                self.workflow, name
            ):
                yield f"{name} changed again"
        self.workflow = workflow

    def _settled(self) -> Iterator[str]:
        if not is_terminal(self.workflow):
            yield f"settled while {state_name(self.workflow)}"
        for uuid, taskforce in self.taskforces.items():
            if phase_name(taskforce.phase) not in _ENDED_PHASES:
                yield f"settled while {uuid} is {phase_name(taskforce.phase)}"

    def _change_taskforce(
        self, taskforce: taskforce_pb2.Taskforce, previous: taskforce_pb2.TaskforcePhase.ValueType
    ) -> Iterator[str]:
        uuid = taskforce.taskforce_uuid
        known = self.taskforces.get(uuid)
        held = known.phase if known else taskforce_pb2.TASKFORCE_PHASE_UNSPECIFIED
        if previous != held:
            yield f"{uuid}: previous phase {phase_name(previous)}, was {phase_name(held)}"
        yield from self._follow_log(known, taskforce)
        if known and known.HasField("cluster_id") and known.cluster_id != taskforce.cluster_id:
            yield f"{uuid}: cluster {known.cluster_id} became {taskforce.cluster_id}"
        if known and known.phase in _final_phases() and taskforce.phase != known.phase:
            yield f"{uuid}: left {phase_name(known.phase)}"
        self.taskforces[uuid] = taskforce

    def _follow_log(
        self, known: taskforce_pb2.Taskforce | None, taskforce: taskforce_pb2.Taskforce
    ) -> Iterator[str]:
        uuid, log = taskforce.taskforce_uuid, list(taskforce.phase_change_log)
        old = list(known.phase_change_log) if known else []
        if len(log) < _LOG_LENGTH and log[: len(old)] != old:
            yield f"{uuid}: its log of phases was rewritten"
            return
        phase = phase_name(known.phase) if known else ""
        for change in log[len(old) :]:
            if not change.was_successful:
                continue
            target = phase_name(change.target_phase)
            self.phases.append((self.revision, uuid, target))
            if phase and target not in _NEXT_PHASES.get(phase, set()):
                yield f"{uuid}: phase {phase} -> {target}"
            phase = target
        if phase and phase != phase_name(taskforce.phase):
            yield f"{uuid}: is {phase_name(taskforce.phase)}, its log ends with {phase}"

    def _change_status(self, status: taskforce_pb2.TaskforceStatus) -> Iterator[str]:
        known = self.taskforces.get(status.taskforce_uuid)
        if known is None:
            yield f"{status.taskforce_uuid}: statuses of a taskforce that nobody knows"
            return
        if status.phase != known.phase:
            yield f"{status.taskforce_uuid}: a status changed the phase"
        after = taskforce_pb2.Taskforce()
        after.CopyFrom(known)
        after.ClearField("compound_statuses")
        after.ClearField("top_task_errors")
        for name, counts in status.compound_statuses.items():
            after.compound_statuses[name].CopyFrom(counts)
        after.top_task_errors.update(status.top_task_errors)
        self.taskforces[status.taskforce_uuid] = after

    def _lasting(self, held: dict[str, Any], key: str, after: Any) -> Iterator[str]:
        before = held.get(key)
        for name in _LASTING:
            if hasattr(after, name) and getattr(before, name, False) and not getattr(after, name):
                yield f"{key}: {name} was taken back"
        held[key] = after


def _final_phases() -> tuple[taskforce_pb2.TaskforcePhase.ValueType, ...]:
    return (taskforce_pb2.TASKFORCE_PHASE_CONDOR_COMPLETE, taskforce_pb2.TASKFORCE_PHASE_FAILED)
