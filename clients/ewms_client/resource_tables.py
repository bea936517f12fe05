"""Resources as tables for a person: the columns' names, and a row for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC

from google.protobuf.timestamp_pb2 import Timestamp

from ewms.wms.v1 import task_kinds_pb2, task_pb2, taskforce_pb2, workflow_pb2, workflow_service_pb2
from ewms_client.view import WorkflowView, phase_name, standing_reason, state_name

__all__ = [
    "clock",
    "dead_letters",
    "history",
    "net_tasks",
    "queues",
    "statuses",
    "task_directives",
    "taskforces",
    "workflow",
    "workflows",
]

Rows = tuple[Sequence[str], Sequence[Sequence[object]]]


def clock(time: Timestamp) -> str:
    """Date, time of day and offset in the local zone; empty for none."""
    if not time.seconds:
        return ""
    return time.ToDatetime(tzinfo=UTC).astimezone().isoformat(sep=" ", timespec="seconds")


def statuses(counts: Iterable[tuple[str, taskforce_pb2.PilotStatusCounts]]) -> str:
    """Workers by HTCondor status and, in brackets, by what their pilots do."""
    parts = []
    for condor_status, by_pilot in counts:
        pilots = ", ".join(f"{n} {pilot}" for pilot, n in sorted(by_pilot.counts.items()) if pilot)
        total = sum(by_pilot.counts.values())
        parts.append(f"{total} {condor_status}" + (f" ({pilots})" if pilots else ""))
    return ", ".join(parts)


def workflows(items: Iterable[workflow_pb2.Workflow]) -> Rows:
    """Workflows, one a row."""
    return ("WORKFLOW", "STATE", "PRIORITY", "TASKS", "CREATED", "OWNER", "NAME"), [
        (
            item.workflow_id,
            state_name(item.state),
            item.priority,
            item.n_tasks,
            clock(item.create_time),
            item.owner,
            item.name,
        )
        for item in items
    ]


def workflow(item: workflow_pb2.Workflow) -> Rows:
    """One workflow, a row for each field that says something."""
    labels = ", ".join(f"{key}={value}" for key, value in sorted(item.labels.items()))
    fields = {
        "id": item.workflow_id,
        "name": item.name,
        "labels": labels,
        "owner": item.owner,
        "state": state_name(item.state),
        "reason": item.state_reason,
        "waits for": item.pending_reason,
        "asks again": clock(item.retry_time),
        "priority": item.priority,
        "created": clock(item.create_time),
        "active": clock(item.active_time),
        "ended": clock(item.end_time),
        "settled": clock(item.settled_time),
        "revision": item.revision,
        "attention": "; ".join(item.attention),
    }
    return ("FIELD", "VALUE"), [(name, value) for name, value in fields.items() if value != ""]


def task_directives(items: Iterable[task_pb2.TaskDirective]) -> Rows:
    """Task directives, one a row."""
    return ("TASK", "NAME", "LOCATIONS", "WORKERS", "INPUT", "OUTPUT", "DONE"), [
        (
            item.task_id,
            item.name,
            ", ".join(item.cluster_locations),
            item.n_workers,
            ", ".join(item.input_queue_aliases),
            ", ".join(item.output_queue_aliases),
            "yes" if item.is_done else "no",
        )
        for item in items
    ]


def net_tasks(items: Iterable[task_pb2.TaskDirective]) -> Rows:
    """Tasks of a net, one a row: where each stands, and what it waits for or why it failed."""
    tasks = list(items)
    states = {task.name: task.state for task in tasks}
    return ("TASK", "NAME", "KIND", "STATE", "TRIES", "WHY"), [
        (
            task.task_id,
            task.name,
            task_kinds_pb2.TaskKind.Name(task.kind).removeprefix("TASK_KIND_").lower(),
            _task_state_name(task.state),
            task.n_tries or "",
            _why(task, states),
        )
        for task in tasks
    ]


def _why(
    task: task_pb2.TaskDirective, states: Mapping[str, task_kinds_pb2.TaskState.ValueType]
) -> str:
    if task.state_reason or task.state != task_kinds_pb2.TASK_STATE_WAITING:
        waits = task.wait.signal and task.state == task_kinds_pb2.TASK_STATE_RUNNING
        return task.state_reason or (f"waits for the signal {task.wait.signal}" if waits else "")
    over = (task_kinds_pb2.TASK_STATE_SUCCEEDED, task_kinds_pb2.TASK_STATE_SKIPPED)
    missing = [name for name in task.depends_on if states.get(name) not in over]
    if not missing:
        return "" if task.depends_on else "not needed so far"
    failed = [name for name in missing if states[name] == task_kinds_pb2.TASK_STATE_FAILED]
    if failed:
        return f"cannot run: {', '.join(failed)} failed"
    return f"waits for {', '.join(missing)}"


def _task_state_name(state: task_kinds_pb2.TaskState.ValueType) -> str:
    return task_kinds_pb2.TaskState.Name(state).removeprefix("TASK_STATE_")


def taskforces(items: Iterable[taskforce_pb2.Taskforce]) -> Rows:
    """Taskforces, one a row."""
    return ("TASKFORCE", "LOCATION", "PHASE", "WORKERS", "CLUSTER", "STATUS", "REASON"), [
        (
            item.taskforce_uuid,
            item.cluster_location,
            phase_name(item.phase),
            item.n_workers,
            item.cluster_id if item.HasField("cluster_id") else "",
            statuses(sorted(item.compound_statuses.items())),
            standing_reason(item),
        )
        for item in items
    ]


def queues(view: WorkflowView) -> Rows:
    """A workflow's queues, one a row, with their counts if those are known."""
    columns = ["QUEUE", "KIND", "STATE"]
    rows: list[list[object]] = [
        [queue.alias, "public" if queue.is_public else "private", _mood(queue)]
        for queue in view.queues.values()
    ]
    if view.queue_stats:
        columns += ["WAITING", "IN FLIGHT", "DONE", "DEAD"]
        for row, alias in zip(rows, view.queues, strict=True):
            stats = view.queue_stats.get(alias)
            row += (stats.depth, stats.in_flight, stats.done, stats.dead) if stats else [""] * 4
    return columns, rows


def _mood(queue: workflow_pb2.Queue) -> str:
    if queue.is_drained:
        return "drained"
    if queue.is_closed:
        return "closed"
    if queue.is_close_requested:
        return "closing"
    return "open" if queue.is_activated else "not granted"


def history(entries: Iterable[workflow_pb2.HistoryEntry]) -> Rows:
    """Lines of a workflow's history."""
    return ("TIME", "REVISION", "SUBJECT", "WHAT", "SOURCE", "REASON"), [
        (
            clock(entry.time),
            entry.revision,
            entry.subject,
            entry.what if entry.was_successful else f"{entry.what} (refused)",
            entry.source,
            entry.reason,
        )
        for entry in entries
    ]


def dead_letters(letters: Iterable[workflow_service_pb2.DeadLetter]) -> Rows:
    """Dead letters, one a row, without their payloads."""
    return ("DEAD LETTER", "EVENT", "HEADERS", "DELIVERIES", "BYTES", "TIME", "REASON"), [
        (
            letter.dead_letter_id,
            letter.event_id,
            " ".join(f"{name}={value}" for name, value in sorted(letter.headers.items())),
            letter.n_deliveries,
            letter.size,
            clock(letter.dead_time),
            letter.reason,
        )
        for letter in letters
    ]
