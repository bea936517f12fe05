"""A watched workflow as a picture for a terminal: a bar for each queue, workers by status,
taskforces by phase, and what waits or wants attention."""

from __future__ import annotations

from collections import Counter

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ewms.wms.v1 import workflow_pb2
from ewms.wms.v1.taskforce_pb2 import TASKFORCE_PHASE_FAILED
from ewms_client.resource_tables import statuses
from ewms_client.view import WorkflowView, standing_reason, state_name

__all__ = ["progress_of"]

_BAR_WIDTH = 30
_SHOWN_REASONS = 5
_STATE_STYLES = {
    workflow_pb2.WORKFLOW_STATE_PENDING: "yellow",
    workflow_pb2.WORKFLOW_STATE_ACTIVE: "green",
    workflow_pb2.WORKFLOW_STATE_PAUSED: "yellow",
    workflow_pb2.WORKFLOW_STATE_FAILED: "bold red",
    workflow_pb2.WORKFLOW_STATE_ABORTED: "bold red",
}


def progress_of(view: WorkflowView) -> RenderableType:
    """The picture of the workflow as it is now."""
    if not view.revision:
        return Text("waiting for the server")
    parts: list[RenderableType] = [_headline(view.workflow)]
    if view.queues:
        parts.append(_queue_bars(view))
    parts.append(_worker_lines(view))
    reasons = Counter(
        (taskforce.phase == TASKFORCE_PHASE_FAILED, reason)
        for taskforce in view.taskforces.values()
        if (reason := standing_reason(taskforce))
    )
    for (has_failed, reason), count in reasons.most_common(_SHOWN_REASONS):
        what, style = ("failed", "red") if has_failed else ("waiting", "yellow")
        parts.append(Text(f"{what} ({count}): {reason}", style=style))
    for attention in view.workflow.attention:
        parts.append(Text(f"attention: {attention}", style="red"))
    return Group(*parts)


def _headline(workflow: workflow_pb2.Workflow) -> Text:
    state = Text(state_name(workflow.state), style=_STATE_STYLES.get(workflow.state, "bold"))
    name = f" {workflow.name}" if workflow.name else ""
    reason = workflow.state_reason or workflow.pending_reason
    settled = " (settled)" if workflow.HasField("settled_time") else ""
    return Text.assemble(
        (workflow.workflow_id, "bold"), name, "  ", state, settled, f"  {reason}" if reason else ""
    )


def _queue_bars(view: WorkflowView) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("queue", "done", "", "waiting", "in flight", "dead"):
        table.add_column(column, justify="left" if column in ("queue", "") else "right")
    for queue in view.queues.values():
        stats = view.queue_stats.get(queue.alias)
        if stats is None:
            table.add_row(escape(queue.alias))
            continue
        total = stats.done + stats.depth + stats.in_flight
        table.add_row(
            escape(queue.alias),
            str(stats.done),
            ProgressBar(total=max(total, 1), completed=stats.done, width=_BAR_WIDTH),
            str(stats.depth),
            str(stats.in_flight),
            Text(str(stats.dead), style="red" if stats.dead else ""),
        )
    return table


def _worker_lines(view: WorkflowView) -> Text:
    summary = view.summary
    phases = ", ".join(
        f"{count} {phase}" for phase, count in sorted(summary.taskforces_by_phase.items())
    )
    lines = [
        f"workers: {summary.n_workers_running} running, {summary.n_workers_requested} asked for, "
        f"{summary.n_workers_waiting} waiting",
        f"status: {statuses(sorted(summary.compound_statuses.items())) or 'none yet'}",
        f"taskforces: {phases or 'none yet'}",
    ]
    lines += [f"error ({count}): {error}" for error, count in summary.top_task_errors.items()]
    return Text("\n".join(lines))
