"""What revisions write, in one statement: workflows, what belongs to them, feed, outbox, history.

One round trip at the end of a transaction instead of one for each table. It holds the only UPDATE
of a phase.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, cached_property
from typing import Generic, TypeVar

from ewms_postgres.database import Database, Transaction
from ewms_postgres.statements import Statement, statement
from wms_grpc.domain.ids import Mqid, TaskforceId, TaskId, WorkflowId
from wms_grpc.domain.model import HistoryLine, Queue, TaskDirective, Taskforce, Workflow
from wms_grpc.storage.encoded_revisions import CommittedPart, feed_arguments
from wms_grpc.storage.pacing import paced
from wms_grpc.storage.records import json_list, outcomes_json, phase_log_json

__all__ = ["Changed", "WrittenLine", "write_changed", "write_revisions", "write_unread"]

RowT = TypeVar("RowT", Workflow, Queue, TaskDirective, Taskforce)


@dataclass(frozen=True, slots=True)
class _Column(Generic[RowT]):
    """A column: its type, its value where the attribute is not that, and how it is read back."""

    type: str
    value: Callable[[RowT], object] | None = None
    expression: str = ""


class _Rows(Generic[RowT]):
    """Rows of one table that are written anew, found by their key."""

    def __init__(self, table: str, key: str, columns: Mapping[str, str | _Column[RowT]]) -> None:
        self._table = table
        self._key = key
        self._columns: dict[str, _Column[RowT]] = {
            name: _Column(column) if isinstance(column, str) else column
            for name, column in {key: "text", **columns}.items()
        }

    @cached_property
    def update(self) -> str:
        """The UPDATE; its parameters are arrays, one a column."""
        assigned = ", ".join(
            f"{name} = {column.expression or f'c.{name}'}"
            for name, column in self._columns.items()
            if name != self._key
        )
        # In a subquery each, so that the planner does not look at how long they are: it would
        # make a plan for each call, which costs more than to run it.
        arrays = ", ".join(
            f"(SELECT :{self._table}_{name}::{column.type}[])"
            for name, column in self._columns.items()
        )
        return (
            f"UPDATE wms.{self._table} t SET {assigned}"
            f" FROM unnest({arrays}) AS c ({', '.join(self._columns)})"
            f" WHERE t.{self._key} = c.{self._key}"
        )

    async def arguments(self, rows: Iterable[RowT]) -> dict[str, object]:
        """Return the columns of the rows as arrays."""
        written = list(rows)
        return {
            f"{self._table}_{name}": await paced(column.value, written)
            if column.value
            else [getattr(row, name) for row in written]
            for name, column in self._columns.items()
        }


_WORKFLOWS = _Rows[Workflow](
    "workflow",
    "workflow_id",
    {
        "name": "text",
        "labels": "jsonb",
        "priority": "int",
        "state": "text",
        "state_reason": "text",
        "pending_reason": "text",
        "retry_time": "timestamptz",
        "active_time": "timestamptz",
        "end_time": "timestamptz",
        "settled_time": "timestamptz",
        "revision": "bigint",
        "attention": _Column(
            "jsonb",
            lambda workflow: json_list(workflow.attention),
            "ARRAY(SELECT jsonb_array_elements_text(c.attention))",
        ),
        "n_taskforces": "int",
        "n_unended": "int",
        "hold_running": "bool",
        "activation_due": "timestamptz",
        "claim_until": "timestamptz",
        "release_due": "timestamptz",
    },
)

_QUEUES = _Rows[Queue](
    "queue",
    "mqid",
    {
        "is_activated": "bool",
        "is_close_requested": "bool",
        "is_close_due": "bool",
        "is_closed": "bool",
        "is_drained": "bool",
        "broker_type": "text",
        "broker_address": "text",
        "broker_tls": "bool",
        "n_dead": "bigint",
    },
)

_DIRECTIVES = _Rows[TaskDirective](
    "task_directive",
    "task_id",
    {"is_done": "bool", "done_time": "timestamptz", "stop_due": "timestamptz"},
)

_TASKFORCES = _Rows[Taskforce](
    "taskforce",
    "taskforce_uuid",
    {
        "priority": "int",
        "phase": "text",
        "phase_log": _Column("jsonb", lambda taskforce: phase_log_json(taskforce.phase_log)),
        "waiting_reason": "text",
        "cluster_id": "bigint",
        "submit_dict": "jsonb",
        "job_event_log_fpath": "text",
        "n_refusals": "int",
        "n_failures": "int",
        "outcomes": _Column("jsonb", lambda taskforce: outcomes_json(taskforce.outcomes)),
        "condor_complete_time": "timestamptz",
        "n_idle": "int",
        "assignment": "text",
        "assignment_due": "timestamptz",
        "assigned_session": "bigint",
        "assigned_time": "timestamptz",
    },
)

_FEED = """
    INSERT INTO wms.feed (workflow_id, revision, part, is_last, time, body, before, after)
    SELECT * FROM unnest(
      :f_workflow::text[], :f_revision::bigint[], :f_part::int[], :f_is_last::bool[],
      :f_time::timestamptz[], :f_body::bytea[], :f_before::jsonb[], :f_after::jsonb[])
"""

_OUTBOX = """
    INSERT INTO wms.outbox (workflow_id, revision)
    SELECT * FROM unnest(:workflow_workflow_id::text[], :workflow_revision::bigint[])
"""

_HISTORY = """
    INSERT INTO wms.history (workflow_id, revision, time, kind, subject, what, source, reason,
                             was_successful, source_event_time)
    SELECT * FROM unnest(
      :h_workflow::text[], :h_revision::bigint[], :h_time::timestamptz[], :h_kind::text[],
      :h_subject::text[], :h_what::text[], :h_source::text[], :h_reason::text[],
      :h_was_successful::bool[], :h_source_event_time::timestamptz[])
"""


# Of workflows that were not read: they are locked here, and must be as they were taken for.
_UNREAD_WORKFLOWS = f"{_WORKFLOWS.update} AND t.revision = c.revision - 1 RETURNING t.workflow_id"

_REQUIRE = """
    SELECT wms.require_at_once(
      :workflow_workflow_id[1], EXISTS (SELECT FROM write_0), :r_location::text[], :r_limit::int[])
"""


@cache
def _all_together(*writes: str) -> Statement:
    """Return these writes as one statement.

    Made for each combination that there is, since an array costs the driver and the server
    something even if it is empty.
    """
    *firsts, last = writes
    named = [f"write_{number} AS ({write})" for number, write in enumerate(firsts)]
    return statement(f"WITH {', '.join(named)} {last}" if named else last)


@dataclass(frozen=True, slots=True)
class Changed:
    """What of locked workflows is to be written at the transaction's end, each row once."""

    queues: dict[Mqid, Queue] = field(default_factory=dict)
    directives: dict[TaskId, TaskDirective] = field(default_factory=dict)
    taskforces: dict[TaskforceId, Taskforce] = field(default_factory=dict)

    async def writes(self) -> tuple[list[str], dict[str, object]]:
        """Return the UPDATEs for what is changed, and their arguments."""
        updates: list[str] = []
        arguments: dict[str, object] = {}
        if self.queues:
            updates.append(_QUEUES.update)
            arguments |= await _QUEUES.arguments(self.queues.values())
        if self.directives:
            updates.append(_DIRECTIVES.update)
            arguments |= await _DIRECTIVES.arguments(self.directives.values())
        if self.taskforces:
            updates.append(_TASKFORCES.update)
            arguments |= await _TASKFORCES.arguments(self.taskforces.values())
        return updates, arguments


@dataclass(frozen=True, slots=True)
class WrittenLine:
    """A line of history, and where it belongs."""

    workflow_id: WorkflowId
    revision: int
    time: datetime
    line: HistoryLine


async def write_changed(tx: Transaction, changed: Changed) -> None:
    """Write now what is changed so far, for a statement of this transaction that reads it."""
    updates, arguments = await changed.writes()
    if updates:
        await tx.execute(_all_together(*updates), **arguments)
        changed.queues.clear()
        changed.directives.clear()
        changed.taskforces.clear()


async def write_revisions(
    tx: Transaction,
    workflows: Sequence[Workflow],
    changed: Changed,
    parts: Sequence[CommittedPart],
    lines: Sequence[WrittenLine],
) -> None:
    """Write revisions with all that they change; the rows are locked by the caller."""
    updates, arguments = await changed.writes()
    writes = [_WORKFLOWS.update, *updates, _FEED, _OUTBOX, _HISTORY]
    arguments |= await _arguments(workflows, parts, lines)
    await tx.execute(_all_together(*writes), **arguments)


async def write_unread(
    db: Database,
    workflow: Workflow,
    changed: Changed,
    parts: Sequence[CommittedPart],
    lines: Sequence[WrittenLine],
    room: Mapping[str, int],
) -> None:
    """Write a revision of a workflow that was neither locked nor read, in a statement of its own.

    Raises ConcurrencyConflict, with nothing written, if the workflow is not at the revision before,
    or if it cannot be said at once that each location of `room` has fewer idle workers than that
    and nobody who waits.
    """
    updates, arguments = await changed.writes()
    writes = [_UNREAD_WORKFLOWS, *updates, _FEED, _OUTBOX, _HISTORY, _REQUIRE]
    arguments |= await _arguments([workflow], parts, lines)
    arguments |= {"r_location": list(room), "r_limit": list(room.values())}
    await db.execute(_all_together(*writes), **arguments)


async def _arguments(
    workflows: Sequence[Workflow], parts: Sequence[CommittedPart], lines: Sequence[WrittenLine]
) -> dict[str, object]:
    return {
        **await _WORKFLOWS.arguments(workflows),
        **feed_arguments(parts),
        **_history_arguments(lines),
    }


def _history_arguments(lines: Sequence[WrittenLine]) -> dict[str, object]:
    return {
        "h_workflow": [written.workflow_id for written in lines],
        "h_revision": [written.revision for written in lines],
        "h_time": [written.time for written in lines],
        "h_kind": [written.line.kind for written in lines],
        "h_subject": [written.line.subject for written in lines],
        "h_what": [written.line.what for written in lines],
        "h_source": [written.line.cause.source for written in lines],
        "h_reason": [written.line.cause.context for written in lines],
        "h_was_successful": [written.line.was_successful for written in lines],
        "h_source_event_time": [written.line.cause.source_event_time for written in lines],
    }
