"""The owner migrates, the servers have a role that can read and write rows and nothing else."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest
from conftest import Site
from outside_stack import outside_stack, said


async def test_the_owner_migrates_and_the_role_of_the_servers_serves_a_whole_workflow(
    site: Site, tmp_path: Path
) -> None:
    async with outside_stack(tmp_path, site.direct) as stack:
        await stack.submit()
        await stack.send(b"one", b"two", b"three")
        assert await stack.results(3) == [b"one", b"three", b"two"]
        await stack.finish()


@pytest.mark.parametrize("part", ["wms", "mqs"])
async def test_without_a_schema_the_servers_say_who_has_to_make_it(
    empty_site: Site, part: str
) -> None:
    code, told = await said(part, "--listen", "127.0.0.1:0", env=empty_site.direct)
    assert code == 1
    assert "run `ewms db upgrade` as the role that owns the schemas" in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE wms.mine (a int)",
        "CREATE TABLE public.mine (a int)",
        "CREATE SCHEMA mine",
        "ALTER TABLE wms.workflow ADD COLUMN mine int",
        "DROP TABLE mqs.alembic_version",
        "TRUNCATE wms.workflow",
        "CREATE INDEX ON wms.workflow (workflow_id)",
        "DROP SCHEMA wms CASCADE",
        "CREATE ROLE mine",
        "SELECT rolpassword FROM pg_authid",
    ],
)
async def test_the_role_of_the_servers_may_change_no_schema(site: Site, statement: str) -> None:
    connection = await as_app(site)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    finally:
        await connection.close()


async def test_the_revision_of_a_schema_is_for_the_owner_to_say(site: Site) -> None:
    site.server.run("roles", site.database)
    connection = await as_app(site)
    try:
        assert await connection.fetchval("SELECT version_num FROM wms.alembic_version")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("UPDATE wms.alembic_version SET version_num = '9'")
    finally:
        await connection.close()


async def test_a_role_of_another_application_may_not_even_connect(site: Site) -> None:
    connection = await as_app(site)
    try:
        assert not await connection.fetchval(
            "SELECT has_database_privilege('pg_monitor', current_database(), 'CONNECT')"
        )
    finally:
        await connection.close()


async def as_app(site: Site) -> asyncpg.Connection[asyncpg.Record]:
    """A connection of the role that the servers have."""
    connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(
        site.direct["EWMS_WMS_DATABASE"], passfile=site.direct["PGPASSFILE"]
    )
    return connection
