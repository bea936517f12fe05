"""Agents' reports of statuses: many taskforces at once, set-based.

The hot path of the system. One transaction of five round trips whatever the number of taskforces:
the workflows are locked, the taskforces updated where the report is newer and says something new,
and the revisions written. A bad entry never fails the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import asyncpg

from ewms.wms.v1 import taskforce_pb2
from ewms_postgres.statements import statement
from wms_grpc.domain.attention import is_held
from wms_grpc.domain.ids import WorkflowId, workflow_of_taskforce
from wms_grpc.domain.model import Cause
from wms_grpc.domain.phases import count_busy
from wms_grpc.domain.topics import launch_topic
from wms_grpc.domain.words import first_few
from wms_grpc.storage import messages
from wms_grpc.storage.attention import note_attention
from wms_grpc.storage.revisions import RevisionSet
from wms_grpc.storage.store import Store

if TYPE_CHECKING:
    from google.protobuf.internal.containers import MessageMap

__all__ = ["StatusReport", "StatusResult", "report_statuses"]

StatusResult = Literal["UPDATED", "UNCHANGED", "STALE", "NOT_FOUND"]

_UPDATE = statement("""
    WITH report AS (
      SELECT * FROM unnest(:uuid::text[], :cluster_id::bigint[], :sequence::bigint[],
        :statuses::jsonb[], :errors::jsonb[], :n_busy::int[], :is_held::bool[])
        WITH ORDINALITY AS r (uuid, cluster_id, sequence, statuses, errors, n_busy, is_held, number)
    ), known AS (
      SELECT r.*, t.phase, t.cluster_location, t.schedd, t.task_id, t.priority, t.workflow_id,
        r.is_held OR t.is_held AS is_about_held,
        t.taskforce_uuid IS NOT NULL AS is_found,
        t.cluster_id = r.cluster_id AND t.status_sequence < r.sequence AS is_newer,
        t.compound_statuses <> r.statuses OR t.top_task_errors <> r.errors AS is_news
      FROM report r
      LEFT JOIN wms.taskforce t
        ON t.taskforce_uuid = r.uuid AND t.workflow_id = ANY(:workflow_ids::text[])
    ), updated AS (
      -- The sequence counts even if the report says nothing new: an older one that comes later
      -- must not overwrite what this one confirmed.
      UPDATE wms.taskforce t
      SET status_sequence = k.sequence, compound_statuses = k.statuses,
        top_task_errors = k.errors, is_held = k.is_held,
        n_idle = CASE WHEN t.phase = 'CONDOR_SUBMIT'
                      THEN greatest(0, t.n_workers - k.n_busy) ELSE t.n_idle END
      FROM known k
      WHERE t.taskforce_uuid = k.uuid AND k.is_newer
    )
    SELECT number, is_found, is_newer, is_news, phase, cluster_location, schedd, task_id,
      priority, workflow_id, is_about_held
    FROM known ORDER BY number
""")


# As many as the column can hold; an absurd count must not fail the other reports of its batch.
_MOST_WORKERS: Final = 2**31 - 1

# A line of the history names so many taskforces, and counts the others.
_MOST_NAMED: Final = 5


class StatusReport(NamedTuple):
    """Statuses of one taskforce, as its agent reports them.

    A tuple, since a frozen dataclass takes four times as long to make. `message` is
    `compound_statuses` as the agent's message had them, to be copied as a whole.
    """

    taskforce_uuid: str
    cluster_id: int
    sequence: int
    compound_statuses: Mapping[str, Mapping[str, int]]
    top_task_errors: Mapping[str, int]
    message: MessageMap[str, taskforce_pb2.PilotStatusCounts]


async def report_statuses(store: Store, reports: Sequence[StatusReport]) -> list[StatusResult]:
    """Store statuses and return what became of each, in their order.

    A report with a lower sequence than the last, or of another cluster, is STALE. Of several of
    one cluster the highest sequence counts, and the others are STALE.
    """
    newest: dict[tuple[str, int], StatusReport] = {}
    workflow_ids: set[WorkflowId] = set()
    for report in reports:
        workflow_id = workflow_of_taskforce(report.taskforce_uuid)
        if workflow_id is None:
            continue
        workflow_ids.add(workflow_id)
        cluster = report.taskforce_uuid, report.cluster_id
        known = newest.get(cluster)
        if known is None or known.sequence < report.sequence:
            newest[cluster] = report
    batch = list(newest.values())
    results: dict[int, StatusResult] = {}
    # Those of which a taskforce is held, or is so no longer; all others' attention stays as it is.
    about_held: set[WorkflowId] = set()
    if batch:
        async with store.revising(workflow_ids) as revisions:
            rows = await revisions.tx.fetch(_UPDATE, **_arguments(batch, workflow_ids))
            for report, row in zip(batch, rows, strict=True):
                result = _result(row)
                results[id(report)] = result
                if result == "UPDATED":
                    revision = revisions[row["workflow_id"]]
                    _write_status(revision.statuses_changed(), report, row)
                    # A worker that runs leaves room for one that waits to be launched.
                    revision.wakes.add(launch_topic(row["cluster_location"]))
                    if row["is_about_held"]:
                        about_held.add(row["workflow_id"])
            _record(revisions)
            for workflow_id in sorted(about_held):
                await note_attention(revisions, workflow_id)
    return [results.get(id(report)) or _unwritten(report) for report in reports]


def _unwritten(report: StatusReport) -> StatusResult:
    return "STALE" if workflow_of_taskforce(report.taskforce_uuid) else "NOT_FOUND"


def _arguments(
    batch: Sequence[StatusReport], workflow_ids: Iterable[WorkflowId]
) -> dict[str, object]:
    return {
        "workflow_ids": list(workflow_ids),
        "uuid": [r.taskforce_uuid for r in batch],
        "cluster_id": [r.cluster_id for r in batch],
        "sequence": [r.sequence for r in batch],
        "statuses": [r.compound_statuses for r in batch],
        "errors": [r.top_task_errors for r in batch],
        "is_held": [is_held(r.compound_statuses) for r in batch],
        "n_busy": [min(count_busy(r.compound_statuses), _MOST_WORKERS) for r in batch],
    }


def _result(row: asyncpg.Record) -> StatusResult:
    if not row["is_found"]:
        return "NOT_FOUND"
    if not row["is_newer"]:
        return "STALE"
    return "UPDATED" if row["is_news"] else "UNCHANGED"


def _write_status(
    status: taskforce_pb2.TaskforceStatus, report: StatusReport, row: asyncpg.Record
) -> None:
    status.taskforce_uuid = report.taskforce_uuid
    status.phase = messages.PHASE[row["phase"]]
    status.cluster_location = row["cluster_location"]
    status.schedd = row["schedd"]
    status.task_id = row["task_id"]
    status.priority = row["priority"]
    status.compound_statuses.MergeFrom(report.message)
    # Item by item: a map that is given as a whole takes three times as long.
    for words, number in report.top_task_errors.items():
        status.top_task_errors[words] = number


def _record(revisions: RevisionSet) -> None:
    for revision in revisions.all():
        if revision.changes:
            uuids = [change.taskforce_status.taskforce_uuid for change in revision.changes]
            what = f"statuses of {first_few(uuids, _MOST_NAMED)}"
            schedds = sorted({change.taskforce_status.schedd for change in revision.changes})
            cause = Cause(f"tms {', '.join(schedds)}")
            revision.record("REPORT", revision.workflow.workflow_id, what, cause)
