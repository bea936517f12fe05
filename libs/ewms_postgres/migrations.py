"""Bringing a schema to the revision that the program was written for.

Guarantees that any number of programs may start at once (one upgrades, the others wait), that an
upgrade happens whole or not at all, that a schema of a newer program is never touched, and that no
server changes one on a database of others. When there is nothing to do, it costs one query, and
Alembic is not even imported.
"""

from __future__ import annotations

import ast
import asyncio
import enum
import re
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from importlib.resources import as_file
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import asyncpg
import structlog

from ewms_postgres.advisory_lock import hold_advisory_lock
from ewms_postgres.connection import connect, held_connection
from ewms_postgres.errors import (
    DatabaseTooNew,
    DatabaseTooOld,
    DatabaseUnavailable,
    PrivilegeMissing,
    translated,
)

__all__ = ["SchemaState", "bring_schema", "check", "upgrade"]

_log = structlog.get_logger(__name__)

_ENVIRONMENT = Path(__file__).parent / "alembic"
_SCHEMA_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
# Alembic keeps the environment of the migration that runs in a global of the process.
_ALEMBIC_TURN = threading.Lock()
# Another starter may be at a long migration; this bounds the wait for it, and our own.
_UPGRADE_TIMEOUT = timedelta(minutes=30)


class SchemaState(enum.Enum):
    """How a schema stands to the program."""

    CURRENT = "current"
    OLDER = "older"
    NEWER = "newer"
    ABSENT = "absent"


@dataclass(frozen=True)
class _Scripts:
    """The revisions that a folder of migrations knows."""

    known: frozenset[str]
    head: str

    def state_of(self, revision: str | None) -> SchemaState:
        if revision is None:
            return SchemaState.ABSENT
        if revision not in self.known:
            return SchemaState.NEWER
        return SchemaState.CURRENT if revision == self.head else SchemaState.OLDER


async def check(url: str, *, script_location: Path | Traversable, schema: str) -> SchemaState:
    """Say how the schema stands to the migrations; changes nothing.

    Raises DatabaseUnavailable when the server cannot be reached.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(as_file(script_location))
        scripts = await asyncio.to_thread(_read_scripts, folder)
        async with held_connection(url, application_name="ewms-migrations") as connection:
            return scripts.state_of(await _revision(connection, schema))


async def bring_schema(
    url: str, *, script_location: Path | Traversable, schema: str, is_embedded: bool
) -> SchemaState:
    """What a server does at its start: `upgrade`, but an older schema only if it is embedded.

    On a database of others, servers of the older version may still be at work: there it is for
    the operator to say when, by `ewms db upgrade`. One that has no schema yet is given it.

    Raises DatabaseTooOld beside what `upgrade` raises.
    """
    return await _bring(url, script_location, schema, may_change=is_embedded)


async def upgrade(url: str, *, script_location: Path | Traversable, schema: str) -> SchemaState:
    """Bring the schema to the newest revision, creating it if it does not exist.

    Parameters
    ----------
    url
        The database's server itself, not a pooler.
    script_location
        The folder with `versions/*.py` (a path, or a resource of a package).
    schema
        The schema that the migrations fill; `alembic_version` stands in it as well.

    Returns the state before. Raises DatabaseTooNew for a revision that is not among ours, and
    DatabaseUnavailable when the server cannot be reached.
    """
    return await _bring(url, script_location, schema, may_change=True)


async def _bring(
    url: str, script_location: Path | Traversable, schema: str, *, may_change: bool
) -> SchemaState:
    with ExitStack() as stack:
        folder = stack.enter_context(as_file(script_location))
        scripts = await asyncio.to_thread(_read_scripts, folder)
        async with held_connection(
            url, application_name="ewms-migrations", command_timeout=_UPGRADE_TIMEOUT
        ) as connection:
            state = await _settled_state(connection, scripts, schema, may_change)
            if state is SchemaState.CURRENT:
                return state
            await hold_advisory_lock(connection, f"migrations of {schema}")
            # Whoever held the lock has done it for us, perhaps.
            state = await _settled_state(connection, scripts, schema, may_change)
            if state is not SchemaState.CURRENT:
                await _make_schema(connection, schema)
                await asyncio.to_thread(_run_alembic, url, folder, schema)
                _log.info("schema upgraded", schema=schema, revision=scripts.head)
            return state


async def _make_schema(connection: asyncpg.Connection[Any], schema: str) -> None:
    try:
        with translated(connection):
            await connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
    except PrivilegeMissing as error:
        raise PrivilegeMissing(
            f"schema {schema!r} is not there yet, and this role may not make it:"
            " run `ewms db upgrade` as the role that owns the schemas"
        ) from error


async def _settled_state(
    connection: asyncpg.Connection[Any], scripts: _Scripts, schema: str, may_change: bool
) -> SchemaState:
    revision = await _revision(connection, schema)
    state = scripts.state_of(revision)
    if state is SchemaState.NEWER:
        raise DatabaseTooNew(schema, str(revision), scripts.head)
    if state is SchemaState.OLDER and not may_change:
        raise DatabaseTooOld(schema, str(revision), scripts.head)
    return state


async def _revision(connection: asyncpg.Connection[Any], schema: str) -> str | None:
    if not _SCHEMA_NAME.fullmatch(schema):
        raise ValueError(f"{schema!r} is no plain schema name")
    with translated(connection):
        try:
            found: str | None = await connection.fetchval(
                f'SELECT version_num FROM "{schema}".alembic_version'
            )
        except asyncpg.UndefinedTableError:
            return None
    return found


def _read_scripts(folder: Path) -> _Scripts:
    """Read the revisions from the files themselves, without importing them or Alembic."""
    parents: dict[str, object] = {}
    for file in sorted((folder / "versions").glob("*.py")):
        names = _literals(file)
        if "revision" in names:
            parents[str(names["revision"])] = names.get("down_revision")
    heads = parents.keys() - set(parents.values())
    if len(heads) != 1:
        raise ValueError(f"{folder} has {len(heads)} newest revisions instead of one")
    return _Scripts(frozenset(parents), heads.pop())


def _literals(file: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for node in ast.parse(file.read_text()).body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=value)):
                found[name] = value
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant(value=value)):
                found[name] = value
    return found


def _run_alembic(url: str, folder: Path, schema: str) -> None:
    """Run Alembic in this thread, on an event loop of its own: it blocks while it reads files."""
    # Imported here: most starts find nothing to do.
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import Connection
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    config = Config()
    config.set_main_option("script_location", str(_ENVIRONMENT).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", str(folder / "versions").replace("%", "%%"))

    def run(connection: Connection) -> None:
        config.attributes.update(connection=connection, schema=schema)
        command.upgrade(config, "head")

    async def run_on_engine() -> None:
        async def open_connection() -> asyncpg.Connection[Any]:
            return await connect(
                url, application_name="ewms-migrations", command_timeout=_UPGRADE_TIMEOUT
            )

        engine = create_async_engine(
            "postgresql+asyncpg://", async_creator=open_connection, poolclass=NullPool
        )
        try:
            async with engine.connect() as connection:
                await connection.run_sync(run)
                await connection.commit()
        finally:
            await engine.dispose()

    try:
        with _ALEMBIC_TURN:
            asyncio.run(run_on_engine())
    except DBAPIError as error:
        if error.connection_invalidated:
            raise DatabaseUnavailable("the database went away during an upgrade") from error
        raise
