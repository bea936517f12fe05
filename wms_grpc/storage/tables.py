"""The tables that lists are made of, for statements that are put together at run time.

They name what the lists read and follow the migrations, which alone make the schema; a test holds
the two together. Statements whose text is fixed are written as text and need none of this.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Integer, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP
from sqlalchemy.types import TypeEngine

__all__ = ["MOMENT", "task_directive", "taskforce", "workflow"]

MOMENT = TIMESTAMP(timezone=True)

_schema = MetaData(schema="wms")


def _always(name: str, kind: TypeEngine[Any] | type[TypeEngine[Any]]) -> Column[Any]:
    return Column(name, kind, nullable=False)


workflow = Table(
    "workflow",
    _schema,
    Column("workflow_id", Text, primary_key=True),
    _always("owner", Text),
    _always("name", Text),
    _always("labels", JSONB),
    _always("priority", Integer),
    _always("state", Text),
    _always("state_reason", Text),
    _always("pending_reason", Text),
    Column("retry_time", MOMENT),
    _always("create_time", MOMENT),
    Column("active_time", MOMENT),
    Column("end_time", MOMENT),
    Column("settled_time", MOMENT),
    _always("revision", BigInteger),
    _always("attention", ARRAY(Text)),
    _always("n_tasks", Integer),
    _always("n_taskforces", Integer),
    _always("n_unended", Integer),
    _always("hold_running", Boolean),
    Column("activation_due", MOMENT),
    Column("claim_until", MOMENT),
    Column("release_due", MOMENT),
    _always("has_net", Boolean),
    _always("n_active", Integer),
    _always("n_failures", Integer),
)

task_directive = Table(
    "task_directive",
    _schema,
    Column("task_id", Text, primary_key=True),
    _always("workflow_id", Text),
    _always("number", Integer),
    _always("create_time", MOMENT),
    _always("name", Text),
    _always("task_image", Text),
    _always("n_workers", Integer),
    _always("spec", JSONB),
    _always("is_done", Boolean),
    Column("done_time", MOMENT),
    Column("stop_due", MOMENT),
    Column("state", Text),
    _always("state_reason", Text),
    _always("n_tries", Integer),
)

taskforce = Table(
    "taskforce",
    _schema,
    Column("taskforce_uuid", Text, primary_key=True),
    _always("workflow_id", Text),
    _always("task_id", Text),
    _always("create_time", MOMENT),
    _always("priority", Integer),
    _always("cluster_location", Text),
    _always("schedd", Text),
    _always("n_workers", Integer),
    _always("spec", JSONB),
    _always("phase", Text),
    _always("phase_log", JSONB),
    _always("waiting_reason", Text),
    Column("cluster_id", BigInteger),
    _always("submit_dict", JSONB),
    _always("job_event_log_fpath", Text),
    _always("compound_statuses", JSONB),
    _always("top_task_errors", JSONB),
    _always("status_sequence", BigInteger),
    _always("n_refusals", Integer),
    _always("n_failures", Integer),
    _always("outcomes", JSONB),
    Column("condor_complete_time", MOMENT),
    _always("n_idle", Integer),
    _always("is_held", Boolean),
    _always("attempt", Integer),
    Column("assignment", Text),
    Column("assignment_due", MOMENT),
    Column("assigned_session", BigInteger),
    Column("assigned_time", MOMENT),
)
