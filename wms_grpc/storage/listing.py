"""Lists of workflows, task directives and taskforces in pages, and single ones by their ids.

A page is found by the place of the last resource before it and never by counting rows, so that a
page deep in a list costs as much as the first. What a page reads of large rows is bounded in the
database: it ends early, with `has_more`, where its rows would exceed `PAGE_BYTES`, but holds at
least one. The orders have their indexes (`workflow_by_age`, `taskforce_by_priority`, …), and so
have the filters that people ask most: for a state or phase, an owner, a label, a workflow, a task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

import asyncpg
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Integer,
    Select,
    Table,
    Text,
    bindparam,
    func,
    literal,
    select,
    tuple_,
)
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from ewms_postgres.database import Executor
from ewms_postgres.statements import statement
from wms_grpc.domain.filters import Filter
from wms_grpc.domain.model import TaskDirective, Taskforce, Workflow
from wms_grpc.domain.paging import Order, Place, moment_of
from wms_grpc.storage import tables
from wms_grpc.storage.filtering import condition
from wms_grpc.storage.records import directive_from, taskforce_from, workflow_from

__all__ = [
    "PAGE_BYTES",
    "HistoryRow",
    "Page",
    "PageRequest",
    "list_history",
    "list_task_directives",
    "list_taskforces",
    "list_workflows",
    "read_free_slots",
    "read_task_directive",
    "read_taskforce",
    "read_workflow",
]

PAGE_BYTES: Final = 8 << 20
# What a row takes at least, beside the columns that are measured.
_ROW_BYTES: Final = 512

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which resources, sorted how, behind which of them (None: the first page), how many."""

    filter: Filter
    order: Order
    after: Place | None
    size: int


@dataclass(frozen=True, slots=True)
class Page(Generic[_T]):
    """Resources in the order of the list, and whether more follow."""

    items: Sequence[_T]
    has_more: bool


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One line of a workflow's history as it is stored; `id` grows with time."""

    id: int
    revision: int
    time: datetime
    kind: str
    subject: str
    what: str
    source: str
    reason: str
    was_successful: bool
    source_event_time: datetime | None


async def list_workflows(db: Executor, request: PageRequest) -> Page[Workflow]:
    """Return a page of workflows."""
    return await _page(db, request, tables.workflow, ["labels", "attention"], workflow_from)


async def list_task_directives(db: Executor, request: PageRequest) -> Page[TaskDirective]:
    """Return a page of task directives."""
    return await _page(db, request, tables.task_directive, ["spec"], directive_from)


async def list_taskforces(db: Executor, request: PageRequest) -> Page[Taskforce]:
    """Return a page of taskforces."""
    large = [
        "spec",
        "phase_log",
        "submit_dict",
        "compound_statuses",
        "top_task_errors",
    ]
    return await _page(db, request, tables.taskforce, large, taskforce_from)


async def _page(
    db: Executor,
    request: PageRequest,
    table: Table,
    large: Sequence[str],
    item_from: Callable[[asyncpg.Record], _T],
) -> Page[_T]:
    rows = await db.fetch(statement(_page_query(request, table, large)))
    items = [item_from(row) for row in rows[: request.size]]
    return Page(items, has_more=bool(rows) and rows[0]["n_found"] > len(items))


def _page_query(request: PageRequest, table: Table, large: Sequence[str]) -> Select[Any]:
    """Return the rows of the page and one more, cut where they become too large in sum."""
    found = (
        select(table)
        .where(condition(request.filter, table), *_behind(request, table))
        .order_by(*_sorting(request.order, table, table.c))
        .limit(bindparam(None, request.size + 1, Integer))
        .subquery("found")
    )
    # Measured outside of the subquery, so that only the rows of the page are.
    weight = sum(
        (func.octet_length(found.c[name].cast(Text)) for name in large), literal(_ROW_BYTES)
    )
    before = func.sum(weight).over(
        order_by=_sorting(request.order, table, found.c), rows=(None, -1)
    )
    measured = select(
        found, func.count().over().label("n_found"), before.label("bytes_before")
    ).subquery("measured")
    return (
        select(measured)
        .where(func.coalesce(measured.c.bytes_before, 0) < literal(PAGE_BYTES))
        .order_by(*_sorting(request.order, table, measured.c))
    )


def _sorting(
    order: Order, table: Table, columns: ReadOnlyColumnCollection[str, Any]
) -> list[ColumnElement[Any]]:
    sorting = [columns[order.field], columns[_id_of(table).name]]
    return [column.desc() if order.is_descending else column.asc() for column in sorting]


def _behind(request: PageRequest, table: Table) -> list[ColumnElement[bool]]:
    if request.after is None:
        return []
    order, place = request.order, request.after
    here = tuple_(table.c[order.field], _id_of(table))
    there = tuple_(
        bindparam(None, moment_of(place.number), tables.MOMENT)
        if order.field == "create_time"
        else bindparam(None, place.number, BigInteger),
        bindparam(None, place.name, Text),
    )
    return [here < there if order.is_descending else here > there]


def _id_of(table: Table) -> Column[Any]:
    (column,) = table.primary_key.columns
    return column


_WORKFLOW = statement("SELECT * FROM wms.workflow WHERE workflow_id = :id")
_TASK_DIRECTIVE = statement("SELECT * FROM wms.task_directive WHERE task_id = :id")
_TASKFORCE = statement("SELECT * FROM wms.taskforce WHERE taskforce_uuid = :id")
_HISTORY = statement("""
    SELECT id, revision, time, kind, subject, what, source, reason, was_successful,
           source_event_time
    FROM wms.history
    WHERE workflow_id = :workflow_id AND id > :after
    ORDER BY id
    LIMIT :n_rows
""")
# What an agent said long ago explains nothing about now.
_FREE_SLOTS = statement("""
    SELECT schedd, coalesce((report ->> 'free_slots')::int, 0) AS free_slots,
           coalesce((report ->> 'total_slots')::int, 0) AS total_slots
    FROM wms.capacity
    WHERE schedd = ANY(:schedds::text[]) AND report_time > now() - interval '10 minutes'
""")


async def read_workflow(db: Executor, workflow_id: str) -> Workflow | None:
    """Return the workflow, None if there is none."""
    row = await db.fetchrow(_WORKFLOW, id=workflow_id)
    return workflow_from(row) if row else None


async def read_task_directive(db: Executor, task_id: str) -> TaskDirective | None:
    """Return the task directive, None if there is none."""
    row = await db.fetchrow(_TASK_DIRECTIVE, id=task_id)
    return directive_from(row) if row else None


async def read_taskforce(db: Executor, taskforce_uuid: str) -> Taskforce | None:
    """Return the taskforce, None if there is none."""
    row = await db.fetchrow(_TASKFORCE, id=taskforce_uuid)
    return taskforce_from(row) if row else None


async def list_history(db: Executor, workflow_id: str, after: int, size: int) -> Page[HistoryRow]:
    """Return the lines of a workflow's history behind the one of the id `after`, oldest first."""
    rows = await db.fetch(_HISTORY, workflow_id=workflow_id, after=after, n_rows=size + 1)
    return Page([HistoryRow(**row) for row in rows[:size]], has_more=len(rows) > size)


async def read_free_slots(db: Executor, schedds: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return free slots and slots in all of each schedd that has reported of late."""
    rows = await db.fetch(_FREE_SLOTS, schedds=list(schedds))
    return {row["schedd"]: (row["free_slots"], row["total_slots"]) for row in rows}
