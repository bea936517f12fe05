"""Who may change a schema: a server at its start, and `ewms db upgrade`."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest

from ewms_mqs.config import MqsSettings
from ewms_mqs.server import mqs_server
from ewms_postgres.cluster import Cluster
from ewms_postgres.embedded import database_from
from ewms_postgres.errors import DatabaseTooNew, DatabaseTooOld
from ewms_postgres.migrations import SchemaState, bring_schema
from wms_grpc.config import WmsSettings
from wms_grpc.server import run_wms

EWMS = Path(sys.executable).with_name("ewms")
MIGRATION = """
from alembic import op

revision = "{revision}"
down_revision: str | None = {parent!r}


def upgrade() -> None:
    op.execute("CREATE TABLE part.step_{revision} ()")
"""


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    folder = tmp_path / "migrations"
    (folder / "versions").mkdir(parents=True)
    add_revision(folder, "0001", None)
    return folder


def add_revision(folder: Path, revision: str, parent: str | None) -> None:
    text = MIGRATION.format(revision=revision, parent=parent)
    (folder / "versions" / f"{revision}.py").write_text(text)


async def bring(url: str, scripts: Path, *, is_embedded: bool) -> SchemaState:
    return await bring_schema(url, script_location=scripts, schema="part", is_embedded=is_embedded)


async def run_sql(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


async def revision(url: str, schema: str) -> str | None:
    connection = await asyncpg.connect(url)
    try:
        found: str = await connection.fetchval(f"SELECT version_num FROM {schema}.alembic_version")
        return found
    except asyncpg.UndefinedTableError:
        return None
    finally:
        await connection.close()


@pytest.mark.parametrize("is_embedded", [True, False], ids=["embedded", "url"])
async def test_where_there_is_no_schema_it_is_made_and_then_left_alone(
    database_url: str, scripts: Path, is_embedded: bool
) -> None:
    assert await bring(database_url, scripts, is_embedded=is_embedded) is SchemaState.ABSENT
    assert await bring(database_url, scripts, is_embedded=is_embedded) is SchemaState.CURRENT


async def test_an_older_schema_is_brought_up_to_date_in_an_embedded_database(
    database_url: str, scripts: Path
) -> None:
    await bring(database_url, scripts, is_embedded=True)
    add_revision(scripts, "0002", "0001")
    assert await bring(database_url, scripts, is_embedded=True) is SchemaState.OLDER
    assert await revision(database_url, "part") == "0002"


async def test_an_older_schema_on_a_url_is_refused_untouched_with_what_to_do(
    database_url: str, scripts: Path
) -> None:
    await bring(database_url, scripts, is_embedded=False)
    add_revision(scripts, "0002", "0001")
    with pytest.raises(DatabaseTooOld, match="run `ewms db upgrade`") as refused:
        await bring(database_url, scripts, is_embedded=False)
    assert (refused.value.found, refused.value.known) == ("0001", "0002")
    assert await revision(database_url, "part") == "0001"


@pytest.mark.parametrize("is_embedded", [True, False], ids=["embedded", "url"])
async def test_a_newer_schema_is_refused_wherever_it_is(
    database_url: str, scripts: Path, is_embedded: bool
) -> None:
    await bring(database_url, scripts, is_embedded=False)
    await run_sql(database_url, "UPDATE part.alembic_version SET version_num = '0009'")
    with pytest.raises(DatabaseTooNew):
        await bring(database_url, scripts, is_embedded=is_embedded)


async def serve_wms(**settings: object) -> None:
    stop = asyncio.Event()
    given = {"listen": "127.0.0.1:0", "mqs": "127.0.0.1:1"} | settings
    await run_wms(WmsSettings(**given), stop, lambda _: stop.set())


async def serve_mqs(**settings: object) -> None:
    async with mqs_server(MqsSettings(**{"listen": "127.0.0.1:0"} | settings)):
        pass


@pytest.mark.parametrize(
    ("serve", "schema"), [(serve_wms, "wms"), (serve_mqs, "mqs")], ids=["wms", "mqs"]
)
async def test_a_server_makes_its_schema_on_a_url_and_refuses_an_older_and_a_newer_one(
    database_url: str,
    serve: Callable[..., Awaitable[None]],
    schema: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    await serve(database=database_url)
    made = await revision(database_url, schema)
    assert made is not None
    # A program of the next version: one that knows a revision more.
    folder = tmp_path / "migrations"
    (folder / "versions").mkdir(parents=True)
    add_revision(folder, str(made), None)
    add_revision(folder, "0099", str(made))
    module = sys.modules["wms_grpc.server" if schema == "wms" else "ewms_mqs.server"]
    with monkeypatch.context() as patched:
        patched.setattr(module, "MIGRATIONS", folder)
        with pytest.raises(DatabaseTooOld):
            await serve(database=database_url)
    await run_sql(database_url, f"UPDATE {schema}.alembic_version SET version_num = '0099'")
    with pytest.raises(DatabaseTooNew):
        await serve(database=database_url)


async def upgrade(*options: str, **environment: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        EWMS, "db", "upgrade", *options,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ | environment,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def test_db_upgrade_makes_both_schemas_in_one_database(database_url: str) -> None:
    code, said = await upgrade("--database", database_url)
    assert code == 0
    assert "wms: the schema was absent, and is current" in said
    assert "mqs: the schema was absent, and is current" in said
    for schema in ("wms", "mqs"):
        assert await revision(database_url, schema) is not None
    _, said = await upgrade("--database", database_url)
    assert said.count("the schema was current") == 2


async def test_db_upgrade_takes_each_part_where_its_settings_say(
    database_url: str, tmp_path: Path
) -> None:
    code, said = await upgrade(
        EWMS_MQS_DATABASE=database_url, EWMS_WMS_DATA=str(tmp_path / "nothing")
    )
    assert code == 0
    assert "wms: no embedded database in " in said
    assert await revision(database_url, "mqs") is not None
    assert await revision(database_url, "wms") is None
    code, _ = await upgrade("--mqs-database", database_url, "--wms-database", database_url)
    assert await revision(database_url, "wms") is not None
    assert not (tmp_path / "nothing").exists()


async def test_db_upgrade_of_an_embedded_database_and_a_refused_newer_one(tmp_path: Path) -> None:
    try:
        async with database_from("embedded", tmp_path) as url:
            code, said = await upgrade("--data", str(tmp_path))
            assert (code, said.count("the schema was absent")) == (0, 2)
            assert await revision(url, "mqs") is not None
            await run_sql(url, "UPDATE mqs.alembic_version SET version_num = '0999'")
            code, said = await upgrade("--data", str(tmp_path))
            assert code == 1
            assert "run the newer version" in said
    finally:
        await asyncio.to_thread(Cluster(tmp_path).stop)


async def test_db_upgrade_refuses_what_is_no_url() -> None:
    code, said = await upgrade("--mqs-database", "http://nowhere")
    assert code == 2
    assert "database" in said
