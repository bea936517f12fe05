"""Databases with a great many finished workflows, as real ones leave them.

One workflow lives its life on a real WMS and MQS, from its submission to the release of its
queues. All rows that it has left, in whatever tables, are then copied in bulk under new ids and
at earlier times, within what the feed is kept for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import asyncpg
import grpc

from benchmarks.agent import Agent, an_agent
from benchmarks.load import call_of, clients
from benchmarks.site import Site
from benchmarks.workflows import example_request
from ewms.wms.v1 import tms_service_pb2
from ewms.wms.v1 import workflow_service_pb2 as pb

__all__ = ["grow"]

_WORKFLOW_SERVICE = "/ewms.wms.v1.WorkflowService"
_STATUS_REPORTS = 3
_LOOK_SECONDS = 0.2
_LOOKS = 300
_COPY_SECONDS = 3600.0
_SECONDS_APART = 4
"""So that 100,000 workflows are of less than five days, of the seven that a feed is kept."""

_TABLES = """
    SELECT format('%I.%I', c.table_schema, c.table_name) AS name
    FROM information_schema.columns c
    WHERE c.table_schema IN ('wms', 'mqs') AND c.column_name = 'workflow_id'
      AND c.table_name <> 'outbox'
    ORDER BY c.table_name IN ('workflow', 'workflows') DESC, c.table_name = 'task_directive' DESC
"""
_COLUMNS = """
    SELECT column_name AS name, data_type AS type, column_name = 'position' AS is_position
    FROM information_schema.columns
    WHERE format('%I.%I', table_schema, table_name) = $1 AND is_identity = 'NO'
    ORDER BY ordinal_position
"""
_IS_OVER = """
    SELECT settled_time IS NOT NULL AND release_due IS NULL
      AND NOT EXISTS (SELECT FROM wms.outbox) AND NOT EXISTS (SELECT FROM mqs.queues)
    FROM wms.workflow WHERE workflow_id = $1
"""
_MQIDS = "SELECT mqid FROM wms.queue WHERE workflow_id = $1"
_LAST_POSITION = "SELECT last_position FROM wms.feed_state"
_MOVE_POSITION = """
    UPDATE wms.feed_state SET last_position = (SELECT max(position) FROM wms.feed_position)
"""


@dataclass(frozen=True, slots=True)
class _Specimen:
    """The workflow that is copied: its id, those of its request and its queues."""

    workflow_id: str
    other_ids: Sequence[str]
    last_position: int

    def value_of(self, column: str, kind: str, is_position: bool) -> str:
        """The SQL for a copy's value; `n` is the copy's number."""
        if is_position:
            return f"{column} + n * {self.last_position}"
        match kind:
            case "text":
                return self._renamed(column)
            case "jsonb":
                return f"{self._renamed(f'{column}::text')}::jsonb"
            case "ARRAY":
                return f"{self._renamed(f'{column}::text')}::text[]"
            case "timestamp with time zone":
                return f"{column} - n * interval '{_SECONDS_APART} s'"
            case _:
                return column

    def _renamed(self, text: str) -> str:
        own = self.workflow_id.removeprefix("WF-")
        seconds = int(own.partition("-")[0], 16)
        new = f"to_hex({seconds} - n * {_SECONDS_APART}) || '-' || lpad(to_hex(n), 8, '0')"
        renamed = f"replace({text}, '{own}', {new})"
        for one in self.other_ids:
            renamed = f"replace({renamed}, '{one}', md5('{one}' || n))"
        return renamed


async def grow(site: Site, url: str) -> None:
    """Fill a migrated database with as many finished workflows as the site's scale says."""
    connection = await asyncpg.connect(url)
    try:
        specimen = await _finished_workflow(site, url, connection)
        await _copy(connection, specimen, site.scale.finished_workflows)
    finally:
        await connection.close()


async def _finished_workflow(
    site: Site, url: str, connection: asyncpg.Connection[Any]
) -> _Specimen:
    """Have a workflow live its life until nothing is left to do for it."""
    request = example_request()
    request.request_id = uuid4().hex
    async with (
        site.mqs(url) as mqs,
        site.wms(url, mqs.address) as wms,
        clients(wms.address, 1) as [channel],
        an_agent(channel, "osg") as agent,
    ):
        submit = call_of(channel, f"{_WORKFLOW_SERVICE}/SubmitWorkflow")
        answer = pb.SubmitWorkflowResponse.FromString(await submit(request.SerializeToString()))
        workflow_id = answer.workflow.workflow_id
        rows = await connection.fetch(_MQIDS, workflow_id)
        await _live(channel, agent, workflow_id)
        await _until_over(connection, workflow_id)
    return _Specimen(
        workflow_id,
        (request.request_id, *(row["mqid"] for row in rows)),
        await connection.fetchval(_LAST_POSITION),
    )


async def _until_over(connection: asyncpg.Connection[Any], workflow_id: str) -> None:
    for _ in range(_LOOKS):
        if await connection.fetchval(_IS_OVER, workflow_id):
            return
        await asyncio.sleep(_LOOK_SECONDS)
    raise TimeoutError(f"{workflow_id} is not over")


async def _live(channel: grpc.aio.Channel, agent: Agent, workflow_id: str) -> None:
    start, _ = await agent.started()
    cluster_id = await agent.submit(start)
    for sequence in range(1, _STATUS_REPORTS + 1):
        report = tms_service_pb2.ReportStatusesRequest()
        update = report.updates.add(
            taskforce_uuid=start.taskforce.taskforce_uuid,
            attempt=start.attempt,
            cluster_id=cluster_id,
            sequence=sequence,
        )
        update.compound_statuses["RUNNING"].counts["Tasking"] = 100 * sequence
        update.top_task_errors["TimeoutError()"] = sequence
        await agent.report("ReportStatuses", report)
    finish = pb.FinishWorkflowRequest(workflow_id=workflow_id)
    await call_of(channel, f"{_WORKFLOW_SERVICE}/FinishWorkflow")(finish.SerializeToString())
    await agent.remove(start, cluster_id)


async def _copy(connection: asyncpg.Connection[Any], specimen: _Specimen, number: int) -> None:
    """Copy all that the workflow has left, so many times."""
    # What is copied is sound; checking every reference takes longer than the copying.
    await connection.execute("SET session_replication_role = replica")
    for table in await connection.fetch(_TABLES):
        columns = await connection.fetch(_COLUMNS, table["name"])
        names = ", ".join(column["name"] for column in columns)
        values = ", ".join(
            specimen.value_of(column["name"], column["type"], column["is_position"])
            for column in columns
        )
        await connection.execute(
            f"INSERT INTO {table['name']} ({names}) SELECT {values}"
            f" FROM {table['name']}, generate_series(1, {number}) n WHERE workflow_id = $1",
            specimen.workflow_id,
            timeout=_COPY_SECONDS,
        )
    await connection.execute(_MOVE_POSITION)
    # So that it is not done while something is measured.
    await connection.execute("VACUUM ANALYZE", timeout=_COPY_SECONDS)
