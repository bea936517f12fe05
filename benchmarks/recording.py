"""Records what code of ours asks of the database, so that the same can be run on bare asyncpg.

The limits run the very statements that our code runs, with its own arguments: they are recorded
from that code, in the run itself, so the two can never drift apart. JSON is recorded encoded, as
the bare driver takes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import orjson

from ewms_postgres.connection import prepare_connection
from ewms_postgres.database import Database

__all__ = ["Recording", "Step", "recording", "replay"]


@dataclass(frozen=True, slots=True)
class Step:
    """A statement with its arguments; `BEGIN` and `COMMIT` stand for a transaction's ends."""

    sql: str
    arguments: tuple[Any, ...] = ()


_BEGIN = Step("BEGIN")
_COMMIT = Step("COMMIT")


class Recording:
    """A database of ours, `db`, and what has been asked of it."""

    def __init__(self, connection: asyncpg.Connection[Any]) -> None:
        self._connection = connection
        self._steps: list[Step] = []
        pool: Any = _Pool(connection, self._steps)
        self.db = Database(pool, pooled=False)

    def take(self) -> list[Step]:
        """Return what was asked since the last time."""
        steps = self._steps.copy()
        self._steps.clear()
        return steps

    @asynccontextmanager
    async def undone(self) -> AsyncIterator[None]:
        """Record what the block does, and leave the database as if it had not been."""
        transaction = self._connection.transaction()
        await transaction.start()
        try:
            yield
        finally:
            await transaction.rollback()


async def replay(connection: asyncpg.Connection[Any], steps: Sequence[Step]) -> None:
    """Run the steps on a bare connection."""
    transaction = None
    for step in steps:
        if step is _BEGIN:
            transaction = connection.transaction()
            await transaction.start()
        elif step is _COMMIT:
            assert transaction is not None
            await transaction.commit()
        else:
            await connection.fetch(step.sql, *step.arguments)


@asynccontextmanager
async def recording(url: str) -> AsyncIterator[Recording]:
    """Open a database, on one connection, of which everything is recorded."""
    connection = await asyncpg.connect(url)
    try:
        await prepare_connection(connection)
        yield Recording(connection)
    finally:
        await connection.close()


class _Pool:
    """A pool of one connection."""

    def __init__(self, connection: asyncpg.Connection[Any], steps: list[Step]) -> None:
        self._connection = _Connection(connection, steps)

    def get_max_size(self) -> int:
        """How many connections there may be: more than anybody takes at once."""
        return 100

    def get_idle_size(self) -> int:
        """How many connections wait for somebody to use them."""
        return 1

    async def acquire(self, timeout: float | None) -> _Connection:
        """Return the connection."""
        return self._connection

    async def release(self, connection: _Connection, timeout: float) -> None:
        """Nobody else waits for it."""


class _Connection:
    """The driver's connection, with everything that goes through it noted down."""

    def __init__(self, connection: asyncpg.Connection[Any], steps: list[Step]) -> None:
        self._connection = connection
        self._steps = steps
        # What our code asks at the same time takes turns here.
        self._turn = asyncio.Lock()

    def is_closed(self) -> bool:
        return bool(self._connection.is_closed())

    def transaction(self, **options: Any) -> _Transaction:
        return _Transaction(self._connection.transaction(**options), self._steps)

    async def fetch(self, sql: str, *arguments: Any) -> Any:
        return await self._noted("fetch", sql, arguments)

    async def fetchrow(self, sql: str, *arguments: Any) -> Any:
        return await self._noted("fetchrow", sql, arguments)

    async def fetchval(self, sql: str, *arguments: Any) -> Any:
        return await self._noted("fetchval", sql, arguments)

    async def execute(self, sql: str, *arguments: Any) -> Any:
        return await self._noted("execute", sql, arguments)

    async def _noted(self, method: str, sql: str, arguments: tuple[Any, ...]) -> Any:
        async with self._turn:
            self._steps.append(Step(sql, tuple(_bare(argument) for argument in arguments)))
            return await getattr(self._connection, method)(sql, *arguments)


class _Transaction:
    def __init__(self, transaction: Any, steps: list[Step]) -> None:
        self._transaction = transaction
        self._steps = steps

    async def start(self) -> None:
        self._steps.append(_BEGIN)
        await self._transaction.start()

    async def commit(self) -> None:
        self._steps.append(_COMMIT)
        await self._transaction.commit()

    async def rollback(self) -> None:
        await self._transaction.rollback()


def _bare(argument: object) -> object:
    """The argument as a driver without codecs of ours takes it: JSON is text."""
    if isinstance(argument, dict | orjson.Fragment):
        return orjson.dumps(argument).decode()
    if isinstance(argument, list):
        return [_bare(element) for element in argument]
    return argument
