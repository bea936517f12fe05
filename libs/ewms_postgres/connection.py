"""How every connection of ours to PostgreSQL is opened: limits, settings, codecs.

Guarantees that JSON is exchanged as Python values on each connection, and that a peer which
vanished without a word is noticed on both ends: here by time limits, on the server by its
keepalive, so that the locks and rows of a dead machine come free in half a minute.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, NoReturn

import asyncpg
import orjson

from ewms_postgres.address import driver_address
from ewms_postgres.errors import DRIVER_ERRORS, DatabaseError, DatabaseUnavailable, translated

__all__ = [
    "connect",
    "held_connection",
    "prepare_connection",
    "session_settings",
    "watch_connection",
]

_CONNECT_TIMEOUT = timedelta(seconds=5)
_CLOSE_TIMEOUT = timedelta(seconds=2)
_PROBE_TIMEOUT = timedelta(seconds=5)
_JSONB_VERSION = b"\x01"
_IDLE_IN_TRANSACTION = timedelta(seconds=30)


def session_settings(
    application_name: str, *, statement_timeout: timedelta | None = None
) -> dict[str, str]:
    """Return what a session of ours asks of the server when it opens."""
    settings = {
        "application_name": application_name,
        "idle_in_transaction_session_timeout": _milliseconds(_IDLE_IN_TRANSACTION),
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "4",
        "tcp_user_timeout": "30000",
    }
    if statement_timeout is not None:
        settings["statement_timeout"] = _milliseconds(statement_timeout)
    return settings


def _milliseconds(duration: timedelta) -> str:
    return str(max(1, int(duration / timedelta(milliseconds=1))))


async def prepare_connection(connection: asyncpg.Connection[Any]) -> None:
    """Make JSON columns travel as Python values. None is SQL's NULL; a str is a JSON string."""
    await connection.set_type_codec(
        "json",
        schema="pg_catalog",
        format="binary",
        encoder=orjson.dumps,
        decoder=orjson.loads,
    )
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",
        encoder=lambda value: _JSONB_VERSION + orjson.dumps(value),
        decoder=lambda data: orjson.loads(data[1:]),
    )


async def connect(
    url: str,
    *,
    application_name: str,
    command_timeout: timedelta | None = timedelta(seconds=30),
    connect_timeout: timedelta = _CONNECT_TIMEOUT,
) -> asyncpg.Connection[Any]:
    """Open one connection for a purpose of its own, outside of any pool.

    The URL must lead to the server itself and not to a pooler that gives its sessions away
    between transactions. `command_timeout` bounds each statement, None leaves it unbounded.
    Raises DatabaseUnavailable when the server cannot be reached within `connect_timeout`.
    """
    with translated():
        try:
            connection = await asyncpg.connect(
                **driver_address(url),
                timeout=connect_timeout.total_seconds(),
                command_timeout=command_timeout.total_seconds() if command_timeout else None,
                server_settings=session_settings(application_name),
            )
        except TimeoutError as error:
            raise DatabaseUnavailable("the database did not answer in time") from error
        try:
            await prepare_connection(connection)
        except BaseException:
            connection.terminate()
            raise
    return connection


@asynccontextmanager
async def held_connection(
    url: str, *, application_name: str, command_timeout: timedelta | None = timedelta(seconds=30)
) -> AsyncIterator[asyncpg.Connection[Any]]:
    """Hold one connection, opened as by `connect`, for the length of the block."""
    connection = await connect(
        url, application_name=application_name, command_timeout=command_timeout
    )
    try:
        yield connection
    except DatabaseError:
        # Taking leave of a server that does not answer takes as long as we let it.
        connection.terminate()
        raise
    finally:
        try:
            await connection.close(timeout=_CLOSE_TIMEOUT.total_seconds())
        except DRIVER_ERRORS:
            connection.terminate()


async def watch_connection(connection: asyncpg.Connection[Any], *, every: timedelta) -> NoReturn:
    """Wait for as long as the connection lives, then raise a DatabaseError.

    Its end is noticed at once when the server tells, and within `every` and 5 seconds more when
    the server is silent. The connection must be idle otherwise.
    """
    lost = asyncio.Event()
    connection.add_termination_listener(lambda _connection: lost.set())
    while not connection.is_closed():
        try:
            async with asyncio.timeout(every.total_seconds()):
                await lost.wait()
        except TimeoutError:
            with translated(connection):
                await connection.execute("SELECT 1", timeout=_PROBE_TIMEOUT.total_seconds())
    raise DatabaseUnavailable("the connection to the database was lost")
