"""A workflow as a watch tells it: fold its events into a `WorkflowView` and read the workflow, its
task directives, taskforces and queues from it, and the same summary that the server computes. Pure;
what it holds is exactly what the revisions up to `revision` have said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ewms.wms.v1 import task_pb2, taskforce_pb2, watch_pb2, workflow_pb2
from ewms_client.watching import Restarted, WatchEvent

__all__ = [
    "TERMINAL_STATES",
    "WorkflowView",
    "phase_name",
    "standing_reason",
    "state_name",
    "summarize",
]

TERMINAL_STATES = frozenset(
    {
        workflow_pb2.WORKFLOW_STATE_FINISHED,
        workflow_pb2.WORKFLOW_STATE_ABORTED,
        workflow_pb2.WORKFLOW_STATE_SUCCEEDED,
        workflow_pb2.WORKFLOW_STATE_FAILED,
    }
)
_ENDED_PHASES = frozenset(
    {taskforce_pb2.TASKFORCE_PHASE_CONDOR_COMPLETE, taskforce_pb2.TASKFORCE_PHASE_FAILED}
)
_IDLE_PILOTS = frozenset({"FatalError", "Done"})
_TOP_ERRORS = 10


def state_name(state: workflow_pb2.WorkflowState.ValueType) -> str:
    """A state's short name, as filters and people write it: `ACTIVE`."""
    return workflow_pb2.WorkflowState.Name(state).removeprefix("WORKFLOW_STATE_")


def phase_name(phase: taskforce_pb2.TaskforcePhase.ValueType) -> str:
    """A phase's short name, as filters and people write it: `PENDING_STARTER`."""
    return taskforce_pb2.TaskforcePhase.Name(phase).removeprefix("TASKFORCE_PHASE_")


def standing_reason(taskforce: taskforce_pb2.Taskforce) -> str:
    """What it waits for, or why it failed; empty for one that works or has ended well."""
    if taskforce.phase == taskforce_pb2.TASKFORCE_PHASE_FAILED and taskforce.phase_change_log:
        return taskforce.phase_change_log[-1].context
    return taskforce.waiting_reason


def summarize(taskforces: Iterable[taskforce_pb2.Taskforce]) -> workflow_pb2.WorkflowSummary:
    """The workers of these taskforces at a glance, reckoned as the server does."""
    summary = workflow_pb2.WorkflowSummary()
    errors: Counter[str] = Counter()
    phases: Counter[str] = Counter()
    for taskforce in taskforces:
        phases[phase_name(taskforce.phase)] += 1
        errors.update(taskforce.top_task_errors)
        for condor_status, by_pilot in taskforce.compound_statuses.items():
            for pilot_status, count in by_pilot.counts.items():
                summary.compound_statuses[condor_status].counts[pilot_status] += count
        if taskforce.phase not in _ENDED_PHASES:
            summary.n_workers_requested += taskforce.n_workers
            if not taskforce.HasField("cluster_id"):
                summary.n_workers_waiting += taskforce.n_workers
    running = summary.compound_statuses.get("RUNNING", taskforce_pb2.PilotStatusCounts())
    summary.n_workers_running = sum(
        count for pilot, count in running.counts.items() if pilot not in _IDLE_PILOTS
    )
    summary.taskforces_by_phase.update(phases)
    ranked = sorted(errors.items(), key=lambda error: (-error[1], error[0]))
    summary.top_task_errors.update(ranked[:_TOP_ERRORS])
    return summary


class WorkflowView:
    """The workflow after the last event that was applied. Read its attributes; apply events alone.

    `task_directives`, `taskforces` and `queues` are by id, id and alias; `queue_stats` by alias,
    as last sampled. `revision` is 0 until the first snapshot or revision.
    """

    def __init__(self) -> None:
        self.revision = 0
        self.workflow = workflow_pb2.Workflow()
        self.task_directives: dict[str, task_pb2.TaskDirective] = {}
        self.taskforces: dict[str, taskforce_pb2.Taskforce] = {}
        self.queues: dict[str, workflow_pb2.Queue] = {}
        self.queue_stats: dict[str, workflow_pb2.QueueStats] = {}
        self._summary: workflow_pb2.WorkflowSummary | None = None

    @property
    def state(self) -> workflow_pb2.WorkflowState.ValueType:
        """Where the workflow stands."""
        return self.workflow.state

    @property
    def is_terminal(self) -> bool:
        """Whether its state never changes again."""
        return self.workflow.state in TERMINAL_STATES

    @property
    def is_settled(self) -> bool:
        """Whether, after that, the last taskforce has ended."""
        return self.workflow.HasField("settled_time")

    @property
    def summary(self) -> workflow_pb2.WorkflowSummary:
        """The same numbers as `Workflow.summary`."""
        if self._summary is None:
            self._summary = summarize(self.taskforces.values())
        return self._summary

    def apply(self, event: WatchEvent) -> None:
        """Fold the next event of the watch in."""
        match event:
            case watch_pb2.WorkflowSnapshot():
                self._replace(event)
            case watch_pb2.WorkflowRevision():
                self.revision = event.revision
                for change in event.changes:
                    self._change(change)
            case watch_pb2.QueueStatsSample():
                self.queue_stats.update((queue.alias, queue) for queue in event.queues)
            case watch_pb2.Checkpoint() | Restarted():
                pass

    def snapshot(self) -> watch_pb2.WorkflowSnapshot:
        """All of it as one message, the summary filled in."""
        whole = watch_pb2.WorkflowSnapshot(
            revision=self.revision,
            workflow=self.workflow,
            task_directives=self.task_directives.values(),
            taskforces=self.taskforces.values(),
            queues=self.queues.values(),
            is_last=True,
        )
        whole.workflow.summary.CopyFrom(self.summary)
        return whole

    def _replace(self, snapshot: watch_pb2.WorkflowSnapshot) -> None:
        self.revision = snapshot.revision
        self.workflow = snapshot.workflow
        self.task_directives = {task.task_id: task for task in snapshot.task_directives}
        self.taskforces = {force.taskforce_uuid: force for force in snapshot.taskforces}
        self.queues = {queue.alias: queue for queue in snapshot.queues}
        self._summary = None

    def _change(self, change: watch_pb2.Change) -> None:
        match change.WhichOneof("resource"):
            case "workflow":
                self.workflow = change.workflow
            case "task_directive":
                self.task_directives[change.task_directive.task_id] = change.task_directive
            case "queue":
                self.queues[change.queue.alias] = change.queue
            case "taskforce":
                self.taskforces[change.taskforce.taskforce_uuid] = change.taskforce
                self._summary = None
            case "taskforce_status":
                self._change_status(change.taskforce_status)
                self._summary = None

    def _change_status(self, status: taskforce_pb2.TaskforceStatus) -> None:
        held = self.taskforces[status.taskforce_uuid]
        # A copy: the one held may be in the hands of who read the event that brought it.
        taskforce = taskforce_pb2.Taskforce()
        taskforce.CopyFrom(held)
        taskforce.ClearField("compound_statuses")
        taskforce.ClearField("top_task_errors")
        for condor_status, by_pilot in status.compound_statuses.items():
            taskforce.compound_statuses[condor_status].CopyFrom(by_pilot)
        taskforce.top_task_errors.update(status.top_task_errors)
        self.taskforces[status.taskforce_uuid] = taskforce
