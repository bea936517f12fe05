from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from ewms_postgres.errors import DatabaseTooNew
from ewms_postgres.migrations import SchemaState, check, upgrade

MIGRATION = """
from alembic import op

revision = "{revision}"
down_revision: str | None = {parent!r}


def upgrade() -> None:
    op.execute("{sql}")
"""
UPGRADE = """
import asyncio, sys
from pathlib import Path
from ewms_postgres.migrations import upgrade
before = asyncio.run(upgrade(sys.argv[1], script_location=Path(sys.argv[2]), schema="wms"))
print(before.name, "alembic" in sys.modules, file=sys.stderr)
"""


def write_migration(folder: Path, revision: str, parent: str | None, sql: str) -> None:
    (folder / "versions").mkdir(exist_ok=True)
    text = MIGRATION.format(revision=revision, parent=parent, sql=sql)
    (folder / "versions" / f"{revision}_step.py").write_text(text)


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    folder = tmp_path / "mig rations"
    folder.mkdir()
    write_migration(folder, "0001", None, "CREATE TABLE wms.queue (id text)")
    return folder


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(database_url)
    yield opened
    await opened.close()


async def test_a_schema_is_created_brought_up_and_then_left_alone(
    database_url: str, scripts: Path, connection: asyncpg.Connection
) -> None:
    async def state() -> SchemaState:
        return await check(database_url, script_location=scripts, schema="wms")

    assert await state() is SchemaState.ABSENT
    assert await upgrade(database_url, script_location=scripts, schema="wms") is SchemaState.ABSENT
    assert await state() is SchemaState.CURRENT
    write_migration(scripts, "0002", "0001", "ALTER TABLE wms.queue ADD depth int")
    assert await state() is SchemaState.OLDER
    assert await upgrade(database_url, script_location=scripts, schema="wms") is SchemaState.OLDER
    assert await upgrade(database_url, script_location=scripts, schema="wms") is SchemaState.CURRENT
    await connection.execute("INSERT INTO wms.queue VALUES ('q', 1)")
    assert await connection.fetchval("SELECT version_num FROM wms.alembic_version") == "0002"


async def test_a_newer_schema_is_not_touched_and_both_revisions_are_named(
    database_url: str, scripts: Path, connection: asyncpg.Connection
) -> None:
    await upgrade(database_url, script_location=scripts, schema="wms")
    await connection.execute("UPDATE wms.alembic_version SET version_num = '0009'")
    assert await check(database_url, script_location=scripts, schema="wms") is SchemaState.NEWER
    with pytest.raises(DatabaseTooNew) as refused:
        await upgrade(database_url, script_location=scripts, schema="wms")
    assert (refused.value.found, refused.value.known) == ("0009", "0001")


async def test_an_upgrade_that_fails_leaves_the_schema_as_it_was(
    database_url: str, scripts: Path, connection: asyncpg.Connection
) -> None:
    await upgrade(database_url, script_location=scripts, schema="wms")
    write_migration(scripts, "0002", "0001", "ALTER TABLE wms.queue ADD depth int")
    write_migration(scripts, "0003", "0002", "SELECT nonsense")
    with pytest.raises(Exception, match="nonsense"):
        await upgrade(database_url, script_location=scripts, schema="wms")
    assert await connection.fetchval("SELECT version_num FROM wms.alembic_version") == "0001"
    assert await connection.fetchval("SELECT to_jsonb(q) FROM wms.queue q") is None
    with pytest.raises(asyncpg.UndefinedColumnError):
        await connection.fetch("SELECT depth FROM wms.queue")


async def test_of_many_starters_one_upgrades_and_the_others_find_it_done(
    database_url: str, scripts: Path
) -> None:
    async def start() -> str:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", UPGRADE, database_url, str(scripts), stderr=subprocess.PIPE
        )
        _, said = await process.communicate()
        assert process.returncode == 0, said.decode()
        return said.decode()

    said = await asyncio.gather(*(start() for _ in range(3)))
    assert sum("True" in line for line in said) == 1


async def test_nothing_to_do_does_not_even_import_alembic(database_url: str, scripts: Path) -> None:
    await upgrade(database_url, script_location=scripts, schema="wms")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", UPGRADE, database_url, str(scripts), stderr=subprocess.PIPE
    )
    _, said = await process.communicate()
    assert said == b"CURRENT False\n"


async def test_two_schemas_of_one_database_are_apart(
    database_url: str, scripts: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    write_migration(other, "a1", None, "CREATE TABLE mqs.grant_ (id text)")
    await asyncio.gather(
        upgrade(database_url, script_location=scripts, schema="wms"),
        upgrade(database_url, script_location=other, schema="mqs"),
    )
    assert await check(database_url, script_location=scripts, schema="wms") is SchemaState.CURRENT
    assert await check(database_url, script_location=other, schema="mqs") is SchemaState.CURRENT


async def test_scripts_with_two_ends_are_refused(database_url: str, scripts: Path) -> None:
    write_migration(scripts, "0002a", "0001", "SELECT 1")
    write_migration(scripts, "0002b", "0001", "SELECT 1")
    with pytest.raises(ValueError, match="2 newest revisions"):
        await upgrade(database_url, script_location=scripts, schema="wms")
