"""Workflows' workers at a glance, summed in the database over their taskforces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ewms_postgres.database import Executor
from ewms_postgres.statements import statement
from wms_grpc.domain.ids import WorkflowId
from wms_grpc.domain.model import CompoundStatuses

__all__ = ["Summary", "summarize"]

_TOP_ERRORS: Final = 10


@dataclass(frozen=True, slots=True)
class Summary:
    """The sums of one workflow; the fields are those of the contract's `WorkflowSummary`."""

    compound_statuses: CompoundStatuses = field(default_factory=dict)
    top_task_errors: Mapping[str, int] = field(default_factory=dict)
    n_workers_running: int = 0
    n_workers_requested: int = 0
    n_workers_waiting: int = 0
    taskforces_by_phase: Mapping[str, int] = field(default_factory=dict)


_SUMMARIZE = statement("""
    WITH member AS MATERIALIZED (
      SELECT workflow_id, phase, n_workers, cluster_id, compound_statuses, top_task_errors,
             phase NOT IN ('CONDOR_COMPLETE', 'FAILED') AS is_unended
      FROM wms.taskforce
      WHERE workflow_id = ANY(:workflow_ids::text[])
    ), by_phase AS (
      SELECT workflow_id, jsonb_object_agg(phase, n) AS taskforces_by_phase,
             sum(requested) AS n_workers_requested, sum(waiting) AS n_workers_waiting
      FROM (
        SELECT workflow_id, phase, count(*) AS n,
               coalesce(sum(n_workers) FILTER (WHERE is_unended), 0) AS requested,
               coalesce(sum(n_workers) FILTER (WHERE is_unended AND cluster_id IS NULL), 0)
                 AS waiting
        FROM member
        GROUP BY workflow_id, phase
      ) phases
      GROUP BY workflow_id
    ), by_status AS (
      SELECT workflow_id, jsonb_object_agg(status, pilots) AS compound_statuses,
             sum(running) AS n_workers_running
      FROM (
        SELECT workflow_id, status, jsonb_object_agg(pilot, n) AS pilots,
               sum(n) FILTER (WHERE status = 'RUNNING' AND pilot NOT IN ('FatalError', 'Done'))
                 AS running
        FROM (
          SELECT workflow_id, statuses.key AS status, pilots.key AS pilot,
                 sum(pilots.value::bigint) AS n
          FROM member
          CROSS JOIN LATERAL jsonb_each(compound_statuses) AS statuses
          CROSS JOIN LATERAL jsonb_each_text(statuses.value) AS pilots
          GROUP BY workflow_id, statuses.key, pilots.key
        ) pilots
        GROUP BY workflow_id, status
      ) statuses
      GROUP BY workflow_id
    ), by_error AS (
      SELECT workflow_id, jsonb_object_agg(error, n) AS top_task_errors
      FROM (
        SELECT workflow_id, errors.key AS error, sum(errors.value::bigint) AS n,
               row_number() OVER (
                 PARTITION BY workflow_id
                 ORDER BY sum(errors.value::bigint) DESC, errors.key COLLATE "C"
               ) AS rank
        FROM member
        CROSS JOIN LATERAL jsonb_each_text(top_task_errors) AS errors
        GROUP BY workflow_id, errors.key
      ) errors
      WHERE rank <= :top_errors
      GROUP BY workflow_id
    )
    SELECT workflow_id, taskforces_by_phase, n_workers_requested::bigint,
           n_workers_waiting::bigint, coalesce(n_workers_running, 0)::bigint AS n_workers_running,
           coalesce(compound_statuses, '{}') AS compound_statuses,
           coalesce(top_task_errors, '{}') AS top_task_errors
    FROM by_phase
    LEFT JOIN by_status USING (workflow_id)
    LEFT JOIN by_error USING (workflow_id)
""")


async def summarize(db: Executor, workflow_ids: Sequence[WorkflowId]) -> dict[WorkflowId, Summary]:
    """Return the summaries of all these workflows; one without taskforces is left out."""
    if not workflow_ids:
        return {}
    rows = await db.fetch(_SUMMARIZE, workflow_ids=list(workflow_ids), top_errors=_TOP_ERRORS)
    return {
        WorkflowId(row["workflow_id"]): Summary(
            **{name: row[name] for name in Summary.__dataclass_fields__}
        )
        for row in rows
    }
