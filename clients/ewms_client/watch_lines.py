"""A watched workflow as lines of text, one for each thing that changed, for logs and pipes."""

from __future__ import annotations

from collections.abc import Iterator

from ewms.wms.v1 import watch_pb2, workflow_pb2
from ewms_client.resource_tables import clock, statuses
from ewms_client.view import WorkflowView, phase_name, standing_reason, state_name
from ewms_client.watching import Restarted, WatchEvent

__all__ = ["ChangeLines"]


class ChangeLines:
    """Remembers what was said, so that nothing is said twice."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}

    def after(self, event: WatchEvent, view: WorkflowView) -> Iterator[str]:
        """The lines for an event; `view` is the workflow with the event applied."""
        match event:
            case Restarted(reason):
                yield f"begins anew: {reason}"
            case watch_pb2.WorkflowSnapshot():
                yield from self._prefixed("as it is", event.revision, self._everything(view))
            case watch_pb2.WorkflowRevision():
                yield from self._prefixed(
                    clock(event.time), event.revision, self._changes(event, view)
                )
            case watch_pb2.QueueStatsSample():
                for queue in event.queues:
                    yield from self._news(
                        f"events in {queue.alias}",
                        f"{queue.depth} waiting, {queue.in_flight} in flight, {queue.done} done, "
                        f"{queue.dead} dead",
                    )

    @staticmethod
    def _prefixed(time: str, revision: int, lines: Iterator[str]) -> Iterator[str]:
        for line in lines:
            yield f"{time} [{revision}] {line}"

    def _everything(self, view: WorkflowView) -> Iterator[str]:
        yield from self._workflow(view.workflow)
        for queue in view.queues.values():
            yield from self._queue(queue)
        for taskforce_uuid in view.taskforces:
            yield from self._taskforce(taskforce_uuid, view)
        yield from self._workers(view)

    def _changes(self, event: watch_pb2.WorkflowRevision, view: WorkflowView) -> Iterator[str]:
        for change in event.changes:
            match change.WhichOneof("resource"):
                case "queue":
                    yield from self._queue(change.queue)
                case "taskforce":
                    yield from self._taskforce(change.taskforce.taskforce_uuid, view)
                case "task_directive" if change.task_directive.is_done:
                    yield from self._news(f"task {change.task_directive.name}", "done")
        yield from self._workers(view)
        # Last, since it follows from the rest.
        yield from self._workflow(view.workflow)

    def _workflow(self, workflow: workflow_pb2.Workflow) -> Iterator[str]:
        reason = workflow.state_reason or workflow.pending_reason
        state = state_name(workflow.state)
        yield from self._news("workflow", f"{state}: {reason}" if reason else state)
        for attention in workflow.attention:
            yield from self._news(f"attention: {attention}", "")
        if workflow.HasField("settled_time"):
            yield from self._news("workflow settled", "")

    def _queue(self, queue: workflow_pb2.Queue) -> Iterator[str]:
        moods = {
            "drained": queue.is_drained,
            "closed": queue.is_closed,
            "closing": queue.is_close_requested,
            "granted": queue.is_activated,
        }
        mood = next((mood for mood, holds in moods.items() if holds), "")
        if mood:
            yield from self._news(f"queue {queue.alias}", mood)

    def _taskforce(self, taskforce_uuid: str, view: WorkflowView) -> Iterator[str]:
        taskforce = view.taskforces[taskforce_uuid]
        phase = phase_name(taskforce.phase)
        told = standing_reason(taskforce)
        reason = f": {told}" if told else ""
        where = f"taskforce {taskforce_uuid} at {taskforce.cluster_location}"
        yield from self._news(where, f"{phase}{reason}")

    def _workers(self, view: WorkflowView) -> Iterator[str]:
        workers = statuses(sorted(view.summary.compound_statuses.items()))
        if workers:
            yield from self._news("workers", workers)

    def _news(self, subject: str, text: str) -> Iterator[str]:
        if self._said.get(subject) != text:
            self._said[subject] = text
            yield f"{subject}: {text}" if text else subject
