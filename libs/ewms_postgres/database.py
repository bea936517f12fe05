"""The pool through which a program runs its statements and transactions.

Guarantees that every call has a deadline, that every error is one of `errors`, that a connection
goes back clean, that calls and loops leave each other their share (see `shares`), and that a
restarted server is found again without help. Leaves no session state
behind, so it must never be used to LISTEN, to SET or to hold an advisory lock beyond a transaction.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, TypeVar

import asyncpg
import structlog

from ewms_postgres.address import driver_address
from ewms_postgres.backoff import Backoff
from ewms_postgres.connection import prepare_connection, session_settings
from ewms_postgres.errors import (
    DRIVER_ERRORS,
    ConcurrencyConflict,
    DatabaseUnavailable,
    is_lost,
    translated,
)
from ewms_postgres.pooled_connection import PooledConnection
from ewms_postgres.shares import Shares
from ewms_postgres.statements import Statement
from ewms_postgres.transaction import Executor, Session, Transaction

__all__ = ["Database", "Executor", "Isolation", "PoolUsage", "Transaction", "open_database"]

Isolation = Literal["read_committed", "repeatable_read", "serializable"]

_T = TypeVar("_T")
_log = structlog.get_logger(__name__)

_ACQUIRE_DEADLINE = timedelta(seconds=5)
_CLOSE_DEADLINE = timedelta(seconds=5)
_DEFAULT_STATEMENT_TIMEOUT = timedelta(seconds=60)
# The server ends a statement first, so that its connection survives; this is for a dead server.
_GRACE_FOR_THE_SERVER = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class PoolUsage:
    """Connections of a pool: that there are, that somebody uses, and that there may be."""

    n_open: int
    n_in_use: int
    limit: int


class Database:
    """A pool of connections to one database; made by `open_database`."""

    def __init__(self, pool: asyncpg.Pool[Any], *, pooled: bool) -> None:
        self._pool = pool
        self._shares = Shares(pool.get_max_size())
        # A pooler may give each message outside of a transaction to another session, which does
        # not know what was prepared before; inside of a transaction it may not.
        self._single: Callable[[], AbstractAsyncContextManager[Session]] = (
            self.transaction if pooled else self._session
        )

    @property
    def usage(self) -> PoolUsage:
        """How much of the pool is in use now."""
        pool = self._pool
        n_open = pool.get_size()
        return PoolUsage(n_open, n_open - pool.get_idle_size(), pool.get_max_size())

    async def fetch(self, statement: Statement, /, **values: object) -> list[asyncpg.Record]:
        """Run one statement by itself and return all rows."""
        async with self._single() as session:
            return await session.fetch(statement, **values)

    async def fetchrow(self, statement: Statement, /, **values: object) -> asyncpg.Record | None:
        """Run one statement by itself and return the first row, None when there is none."""
        async with self._single() as session:
            return await session.fetchrow(statement, **values)

    async def fetchval(self, statement: Statement, /, **values: object) -> Any:
        """Run one statement by itself and return the first row's first column."""
        async with self._single() as session:
            return await session.fetchval(statement, **values)

    async def execute(self, statement: Statement, /, **values: object) -> int:
        """Run one statement by itself and return how many rows it affected."""
        async with self._single() as session:
            return await session.execute(statement, **values)

    async def execute_many(
        self, statement: Statement, rows: Iterable[Mapping[str, object]], /
    ) -> None:
        """Run one statement for each of the rows, all of them or none."""
        async with self._single() as session:
            await session.execute_many(statement, rows)

    @asynccontextmanager
    async def transaction(
        self, isolation: Isolation = "read_committed", readonly: bool = False
    ) -> AsyncIterator[Transaction]:
        """Run the block in one transaction: committed at its end, rolled back if it raises.

        Raises DatabaseUnavailable when no connection comes free within 5 seconds or the server
        is away; from the commit it means that the outcome is unknown.
        """
        async with self._lease() as connection:
            transaction = connection.transaction(
                isolation=None if isolation == "read_committed" else isolation, readonly=readonly
            )
            with translated(connection):
                await transaction.start()
            tx = Transaction(connection)
            try:
                yield tx
            except BaseException:
                await _roll_back(connection, transaction)
                raise
            with translated(connection):
                await transaction.commit()
        tx.run_callbacks()

    async def transact(
        self,
        work: Callable[[Transaction], Awaitable[_T]],
        *,
        attempts: int = 3,
        isolation: Isolation = "read_committed",
        readonly: bool = False,
    ) -> _T:
        """Run `work` in a transaction, and again as a whole when it lost against another one.

        Only a ConcurrencyConflict is tried again, at most `attempts` times in all; `work` must
        therefore have no effect outside of its transaction.
        """
        for attempt in range(1, attempts + 1):
            try:
                async with self.transaction(isolation, readonly) as tx:
                    result = await work(tx)
                return result
            except ConcurrencyConflict:
                if attempt == attempts:
                    raise
            # Two that collided should not collide again.
            await asyncio.sleep(random.uniform(0, 0.005 * 2**attempt))
        raise ValueError("attempts must be at least 1")

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[Session]:
        async with self._lease() as connection:
            yield Session(connection)

    @asynccontextmanager
    async def _lease(self) -> AsyncIterator[Any]:
        async with self._shares.taken(_ACQUIRE_DEADLINE.total_seconds()) as left:
            # The driver makes a task for a deadline; where a connection is idle, none is needed.
            limit = None if self._pool.get_idle_size() else left
            with translated():
                try:
                    connection = await self._pool.acquire(timeout=limit)
                except TimeoutError as error:
                    raise DatabaseUnavailable("no database connection came free in time") from error
            try:
                yield connection
            finally:
                await self._give_back(connection)

    async def _give_back(self, connection: Any) -> None:
        try:
            await self._pool.release(connection, timeout=_CLOSE_DEADLINE.total_seconds())
        except DRIVER_ERRORS as error:
            # The pool has closed it; what was to be said about the work has been said before.
            _log.info("database connection dropped", reason=type(error).__name__)


async def _roll_back(connection: Any, transaction: Any) -> None:
    if is_lost(connection):
        return
    try:
        await transaction.rollback()
    except DRIVER_ERRORS:
        # The server rolls back when the connection goes.
        if not is_lost(connection):
            connection.terminate()


async def _prepare_behind_pooler(connection: Any) -> None:
    async with connection.transaction():
        await prepare_connection(connection)


async def _keep_session(_connection: object) -> None:
    """Spare the driver's reset, a round trip at each release: we leave no session state."""


@asynccontextmanager
async def open_database(
    url: str,
    *,
    application_name: str,
    min_size: int = 2,
    max_size: int = 10,
    pooled: bool = False,
    statement_timeout: timedelta | None = _DEFAULT_STATEMENT_TIMEOUT,
    connect_timeout: timedelta = timedelta(seconds=30),
) -> AsyncIterator[Database]:
    """Open a pool, waiting up to `connect_timeout` for a server that is away, and close it.

    Parameters
    ----------
    url
        `postgresql://…`; a Unix socket by `?host=/directory`.
    application_name
        Names these connections in `pg_stat_activity`.
    min_size, max_size
        How many connections are opened at once and how many there are at most.
    pooled
        The URL leads to a pooler that gives sessions away between transactions: nothing is
        prepared, nothing is set for a session, and single statements run in a transaction.
    statement_timeout
        Limit of each statement; None leaves statements unbounded.

    Raises DatabaseUnavailable when the server stays away, DatabaseError when it refuses us.
    """
    pool = await _open_pool(
        connect_timeout,
        **driver_address(url),
        init_size=min_size,
        # Else the driver keeps the number up by itself, and during an outage logs a trace for each
        # attempt; a call that needs a connection opens it anyway.
        min_size=0,
        max_size=max_size,
        init=_prepare_behind_pooler if pooled else prepare_connection,
        reset=_keep_session,
        timeout=_ACQUIRE_DEADLINE.total_seconds(),
        **_statement_options(application_name, pooled, statement_timeout),
    )
    try:
        yield Database(pool, pooled=pooled)
    finally:
        await _close_pool(pool)


def _statement_options(
    application_name: str, pooled: bool, statement_timeout: timedelta | None
) -> dict[str, Any]:
    limit = statement_timeout.total_seconds() if statement_timeout else None
    if pooled:
        return {
            "connection_class": PooledConnection,
            "statement_cache_size": 0,
            "command_timeout": limit,
            "server_settings": {"application_name": application_name},
        }
    return {
        "command_timeout": limit + _GRACE_FOR_THE_SERVER.total_seconds() if limit else None,
        "server_settings": session_settings(application_name, statement_timeout=statement_timeout),
    }


async def _open_pool(connect_timeout: timedelta, **options: Any) -> asyncpg.Pool[Any]:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + connect_timeout.total_seconds()
    backoff = Backoff()
    while True:
        pool = asyncpg.create_pool(**options)
        try:
            with translated():
                try:
                    async with asyncio.timeout_at(deadline):
                        await pool
                except TimeoutError as error:
                    raise DatabaseUnavailable("the database did not answer in time") from error
        except DatabaseUnavailable as error:
            pool.terminate()
            if loop.time() >= deadline:
                raise
            _log.log(backoff.level, "waiting for the database", reason=str(error))
            await backoff.wait()
        except BaseException:
            pool.terminate()
            raise
        else:
            return pool


async def _close_pool(pool: asyncpg.Pool[Any]) -> None:
    try:
        async with asyncio.timeout(_CLOSE_DEADLINE.total_seconds()):
            await pool.close()
    except DRIVER_ERRORS:
        pool.terminate()
