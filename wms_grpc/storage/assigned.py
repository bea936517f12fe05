"""What an agent is told of the taskforces that it is to start."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from ewms_postgres.database import Database
from ewms_postgres.statements import statement
from wms_grpc.domain.ids import TaskforceId
from wms_grpc.domain.model import TaskDirective, Taskforce
from wms_grpc.storage.records import directive_from, taskforce_from

__all__ = ["Assigned", "load_assigned"]

_TASKFORCES = statement("""
    SELECT t.*, w.owner FROM wms.taskforce t JOIN wms.workflow w USING (workflow_id)
    WHERE t.taskforce_uuid = ANY(:uuids::text[])
    ORDER BY t.priority DESC, t.create_time, t.taskforce_uuid
""")

_DIRECTIVES = statement("""
    SELECT * FROM wms.task_directive
    WHERE task_id IN (SELECT task_id FROM wms.taskforce
                      WHERE taskforce_uuid = ANY(:uuids::text[]))
""")


@dataclass(frozen=True, slots=True)
class Assigned:
    """A taskforce with its task and its owner."""

    taskforce: Taskforce
    directive: TaskDirective
    owner: str


async def load_assigned(db: Database, uuids: Sequence[TaskforceId]) -> list[Assigned]:
    """Return these taskforces with their tasks, in the order of launching."""
    rows, found = await asyncio.gather(
        db.fetch(_TASKFORCES, uuids=list(uuids)), db.fetch(_DIRECTIVES, uuids=list(uuids))
    )
    directives = {row["task_id"]: directive_from(row) for row in found}
    return [Assigned(taskforce_from(row), directives[row["task_id"]], row["owner"]) for row in rows]
