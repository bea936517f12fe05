"""Statements on one connection, alone or in a transaction, and what follows after its commit.

Guarantees that every error of the driver is translated, and that callbacks run only for what has
been committed. It neither begins nor ends transactions: `database` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import asyncpg
import structlog

from ewms_postgres.errors import translated
from ewms_postgres.statements import Statement

__all__ = ["Executor", "Session", "Transaction"]

_log = structlog.get_logger(__name__)


class Executor(Protocol):
    """What runs statements: a `Database`, each by itself, or a `Transaction`, all together."""

    async def fetch(self, statement: Statement, /, **values: object) -> list[asyncpg.Record]:
        """Return all rows."""

    async def fetchrow(self, statement: Statement, /, **values: object) -> asyncpg.Record | None:
        """Return the first row, None when there is none."""

    async def fetchval(self, statement: Statement, /, **values: object) -> Any:
        """Return the first row's first column, None when there is no row."""

    async def execute(self, statement: Statement, /, **values: object) -> int:
        """Run the statement and return how many rows it affected."""

    async def execute_many(
        self, statement: Statement, rows: Iterable[Mapping[str, object]], /
    ) -> None:
        """Run the statement once for each of the rows, all of them or none."""


class Session:
    """Statements on one connection, each by itself unless a transaction is open on it."""

    def __init__(self, connection: asyncpg.Connection[Any]) -> None:
        self.connection = connection

    async def fetch(self, statement: Statement, /, **values: object) -> list[asyncpg.Record]:
        arguments = statement.arguments(values)
        with translated(self.connection):
            rows: list[asyncpg.Record] = await self.connection.fetch(statement.sql, *arguments)
        return rows

    async def fetchrow(self, statement: Statement, /, **values: object) -> asyncpg.Record | None:
        arguments = statement.arguments(values)
        with translated(self.connection):
            return await self.connection.fetchrow(statement.sql, *arguments)

    async def fetchval(self, statement: Statement, /, **values: object) -> Any:
        arguments = statement.arguments(values)
        with translated(self.connection):
            return await self.connection.fetchval(statement.sql, *arguments)

    async def execute(self, statement: Statement, /, **values: object) -> int:
        arguments = statement.arguments(values)
        with translated(self.connection):
            return _affected(await self.connection.execute(statement.sql, *arguments))

    async def execute_many(
        self, statement: Statement, rows: Iterable[Mapping[str, object]], /
    ) -> None:
        arguments = [statement.arguments(row) for row in rows]
        with translated(self.connection):
            await self.connection.executemany(statement.sql, arguments)


class Transaction(Session):
    """An open transaction; its statements see one another and take effect together.

    `connection` is the driver's, for what has no method here (COPY, savepoints); wrap such calls
    in `errors.translated`.
    """

    def __init__(self, connection: asyncpg.Connection[Any]) -> None:
        super().__init__(connection)
        self._callbacks: list[Callable[[], None]] = []

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Have `callback` run once the transaction has committed, and never otherwise.

        Callbacks run in the order in which they were given. They must not raise: the work is
        done by then, so an error is logged and not handed to the caller.
        """
        self._callbacks.append(callback)

    def run_callbacks(self) -> None:
        """For `Database` alone, which knows when the commit has succeeded."""
        for callback in self._callbacks:
            try:
                callback()
            except Exception:
                _log.exception("a callback after a commit failed")


def _affected(status: str) -> int:
    count = status.rpartition(" ")[2]
    return int(count) if count.isdigit() else 0
