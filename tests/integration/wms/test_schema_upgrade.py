"""A database of an older version is brought up with what it holds."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from ewms_mqs import server as mqs
from ewms_postgres.migrations import upgrade
from wms_grpc import server as wms

_WORKFLOW = """
    INSERT INTO wms.workflow (workflow_id, owner, name, labels, priority, state, create_time,
      revision, n_tasks, n_taskforces, n_unended)
    VALUES ('WF', 'ada', '', '{}', 50, 'ACTIVE', now(), 1, 1, 1, 1)
"""
_TASK = """
    INSERT INTO wms.task_directive (task_id, workflow_id, number, create_time, name, task_image,
      n_workers, spec)
    VALUES ('TK', 'WF', 0, now(), '', '', 1, '{}')
"""
_TASKFORCE = """
    INSERT INTO wms.taskforce (taskforce_uuid, workflow_id, task_id, create_time, priority,
      cluster_location, schedd, n_workers, spec, phase, compound_statuses)
    VALUES ($1, 'WF', 'TK', now(), 50, 'osg', 'osg', 1, '{}', $2, $3)
"""
_QUEUE = """
    INSERT INTO mqs.queues (queue_no, mqid, workflow_id, ordinal, alias, is_public)
    OVERRIDING SYSTEM VALUE VALUES (1, 'mqid', 'WF', 1, 'input', true)
"""


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(database_url)
    yield opened
    await opened.close()


def only_first(migrations: Path, folder: Path) -> Path:
    """The migrations as they were in the first version."""
    (first,) = (migrations / "versions").glob("0001_*.py")
    (folder / "versions").mkdir()
    shutil.copy(first, folder / "versions")
    return folder


async def test_taskforces_that_are_held_are_known_as_such(
    database_url: str, tmp_path: Path, connection: asyncpg.Connection
) -> None:
    first = only_first(wms.MIGRATIONS, tmp_path)
    await upgrade(database_url, script_location=first, schema=wms.SCHEMA)
    await connection.execute(_WORKFLOW)
    await connection.execute(_TASK)
    for uuid, phase, statuses in (
        ("held", "CONDOR_SUBMIT", '{"HELD: why": {"": 1}, "COMPLETED": {"": 1}}'),
        ("runs", "CONDOR_SUBMIT", '{"HELD: why": {"": 1}, "RUNNING": {"": 1}}'),
        ("new", "PRE_LAUNCH", "{}"),
        ("ended", "CONDOR_COMPLETE", '{"HELD: why": {"": 1}}'),
    ):
        await connection.execute(_TASKFORCE, uuid, phase, statuses)

    await upgrade(database_url, script_location=wms.MIGRATIONS, schema=wms.SCHEMA)

    held = await connection.fetch("SELECT taskforce_uuid FROM wms.taskforce WHERE is_held")
    assert [row["taskforce_uuid"] for row in held] == ["held"]


async def test_dead_letters_are_counted_in_the_register(
    database_url: str, tmp_path: Path, connection: asyncpg.Connection
) -> None:
    first = only_first(mqs.MIGRATIONS, tmp_path)
    await upgrade(database_url, script_location=first, schema=mqs.SCHEMA)
    await connection.execute("INSERT INTO mqs.workflows (workflow_id) VALUES ('WF')")
    await connection.execute(_QUEUE)
    await connection.execute("INSERT INTO mqs.counts (queue_no, dead) VALUES (1, 3)")

    await upgrade(database_url, script_location=mqs.MIGRATIONS, schema=mqs.SCHEMA)

    assert await connection.fetchval("SELECT n_dead FROM mqs.queues") == 3
