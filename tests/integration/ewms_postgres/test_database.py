from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit, urlunsplit

import pytest

from ewms_postgres.database import Database, Transaction, open_database
from ewms_postgres.errors import (
    ConstraintViolation,
    DatabaseError,
    DatabaseUnavailable,
    DeadlockDetected,
    LockNotAvailable,
    SerializationFailure,
    StatementTimeout,
    TextRefused,
    UniqueViolation,
)
from ewms_postgres.statements import statement

CREATE = statement(
    "CREATE TABLE queue (id text CONSTRAINT queue_key PRIMARY KEY,"
    " depth int NOT NULL CONSTRAINT queue_depth CHECK (depth >= 0))"
)
ADD = statement("INSERT INTO queue VALUES (:id, :depth)")
DEPTH = statement("SELECT depth FROM queue WHERE id = :id")
DEEPEN = statement("UPDATE queue SET depth = depth + 1 WHERE id = :id")
COUNT = statement("SELECT count(*) FROM queue")
KILL_ALL_OTHERS = statement(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url, application_name="test") as database:
        await database.execute(CREATE)
        yield database


async def test_json_and_time_travel_as_python_values(db: Database) -> None:
    moment = datetime(2026, 11, 23, 12, tzinfo=UTC)
    row = await db.fetchrow(
        statement("SELECT :b::jsonb AS b, :j::json AS j, :t::timestamptz AS t, :n::jsonb AS n"),
        b={"a": [1, None, "ü"]},
        j="text",
        t=moment,
        n=None,
    )
    assert row is not None
    assert dict(row) == {"b": {"a": [1, None, "ü"]}, "j": "text", "t": moment, "n": None}


async def test_execute_tells_how_many_rows_it_affected(db: Database) -> None:
    await db.execute_many(ADD, [{"id": name, "depth": 0} for name in "abc"])
    assert await db.execute(statement("UPDATE queue SET depth = 1 WHERE id <= 'b'")) == 2
    assert await db.execute(statement("DELETE FROM queue WHERE id = 'z'")) == 0


async def test_one_bad_row_of_many_leaves_none(db: Database) -> None:
    with pytest.raises(ConstraintViolation):
        await db.execute_many(ADD, [{"id": "a", "depth": 0}, {"id": "b", "depth": -1}])
    assert await db.fetchval(COUNT) == 0


async def test_callbacks_run_in_order_after_the_commit_and_not_before(db: Database) -> None:
    ran: list[str] = []
    async with db.transaction() as tx:
        await tx.execute(ADD, id="a", depth=0)
        tx.after_commit(lambda: ran.append("first"))
        tx.after_commit(lambda: ran.append("second"))
        assert ran == []
    assert ran == ["first", "second"]


async def test_a_failed_transaction_leaves_nothing_and_calls_nobody(db: Database) -> None:
    ran: list[str] = []

    async def fail(tx: Transaction) -> None:
        await tx.execute(ADD, id="a", depth=0)
        tx.after_commit(lambda: ran.append("never"))
        raise KeyError

    with pytest.raises(KeyError):
        await db.transact(fail)
    assert await db.fetchval(COUNT) == 0
    assert ran == []


async def test_a_commit_that_is_refused_calls_nobody(db: Database) -> None:
    await db.execute(
        statement(
            "ALTER TABLE queue ADD CONSTRAINT late UNIQUE (depth) DEFERRABLE INITIALLY DEFERRED"
        )
    )
    ran: list[str] = []

    async def add_twins(tx: Transaction) -> None:
        await tx.execute_many(ADD, [{"id": "a", "depth": 0}, {"id": "b", "depth": 0}])
        tx.after_commit(lambda: ran.append("never"))

    with pytest.raises(UniqueViolation):
        await db.transact(add_twins)
    assert ran == []


async def test_constraints_are_named_and_values_are_not(db: Database) -> None:
    await db.execute(ADD, id="secret", depth=0)
    with pytest.raises(UniqueViolation) as unique:
        await db.execute(ADD, id="secret", depth=0)
    with pytest.raises(ConstraintViolation) as check:
        await db.execute(ADD, id="other", depth=-7)
    assert unique.value.constraint == "queue_key"
    assert check.value.constraint == "queue_depth"
    assert "secret" not in str(unique.value)
    assert "-7" not in str(check.value)


async def test_a_statement_that_takes_too_long_is_ended(database_url: str) -> None:
    limit = timedelta(milliseconds=50)
    async with open_database(
        database_url, application_name="test", statement_timeout=limit, max_size=2
    ) as db:
        with pytest.raises(StatementTimeout):
            await db.execute(statement("SELECT pg_sleep(60)"))
        assert await db.fetchval(statement("SELECT 1")) == 1


async def test_a_refused_statement_is_a_plain_database_error(db: Database) -> None:
    with pytest.raises(DatabaseError, match="42P01") as refused:
        await db.fetch(statement("SELECT * FROM nowhere"))
    assert "nowhere" not in str(refused.value)


async def test_a_text_that_cannot_be_kept_is_an_error_of_its_own(db: Database) -> None:
    with pytest.raises(TextRefused):
        await db.fetchval(statement("SELECT :text::text"), text="a\0b")
    with pytest.raises(TextRefused):
        await db.fetchval(statement("SELECT :value::jsonb"), value={"key": "a\0b"})


async def test_what_another_transaction_changed_is_tried_again(db: Database) -> None:
    await db.execute(ADD, id="a", depth=0)
    attempts: list[int] = []

    async def deepen(tx: Transaction) -> int:
        attempts.append(await tx.fetchval(DEPTH, id="a"))
        if len(attempts) == 1:
            await db.execute(DEEPEN, id="a")
        return await tx.execute(DEEPEN, id="a")

    assert await db.transact(deepen, isolation="repeatable_read") == 1
    assert attempts == [0, 1]
    assert await db.fetchval(DEPTH, id="a") == 2


async def test_a_conflict_that_stays_is_reported_after_the_last_attempt(db: Database) -> None:
    await db.execute(ADD, id="a", depth=0)
    attempts: list[int] = []

    async def always_late(tx: Transaction) -> None:
        attempts.append(await tx.fetchval(DEPTH, id="a"))
        await db.execute(DEEPEN, id="a")
        await tx.execute(DEEPEN, id="a")

    with pytest.raises(SerializationFailure):
        await db.transact(always_late, attempts=2, isolation="serializable")
    assert attempts == [0, 1]


async def test_of_two_that_wait_for_one_another_one_gives_way(db: Database) -> None:
    await db.execute_many(ADD, [{"id": "a", "depth": 0}, {"id": "b", "depth": 0}])
    both_hold_one = asyncio.Barrier(2)

    async def deepen(first: str, second: str) -> None:
        async with db.transaction() as tx:
            await tx.execute(DEEPEN, id=first)
            await both_hold_one.wait()
            await tx.execute(DEEPEN, id=second)

    results = await asyncio.gather(deepen("a", "b"), deepen("b", "a"), return_exceptions=True)
    assert sorted(type(result) for result in results if result) == [DeadlockDetected]


async def test_a_lock_that_is_not_free_at_once_is_told(db: Database) -> None:
    await db.execute(ADD, id="a", depth=0)
    lock = statement("SELECT 1 FROM queue WHERE id = 'a' FOR UPDATE NOWAIT")
    async with db.transaction() as tx:
        await tx.fetch(lock)
        with pytest.raises(LockNotAvailable):
            await db.fetch(lock)


async def test_a_cancelled_statement_gives_a_clean_connection_back(database_url: str) -> None:
    async with open_database(database_url, application_name="test", min_size=1, max_size=1) as db:
        pid = await db.fetchval(statement("SELECT pg_backend_pid()"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await db.execute(statement("SELECT pg_sleep(60)"))
        assert await db.fetchval(statement("SELECT pg_backend_pid()")) == pid


async def test_connections_that_the_server_ended_are_replaced(db: Database) -> None:
    async def lose_the_connection(tx: Transaction) -> None:
        await db.fetch(KILL_ALL_OTHERS)
        await tx.fetch(COUNT)

    with pytest.raises(DatabaseUnavailable):
        await db.transact(lose_the_connection)
    assert await db.fetchval(COUNT) == 0


async def test_a_pool_without_a_free_connection_says_so(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ewms_postgres.database._ACQUIRE_DEADLINE", timedelta(milliseconds=50))
    async with (
        open_database(database_url, application_name="test", min_size=1, max_size=1) as db,
        db.transaction(),
    ):
        with pytest.raises(DatabaseUnavailable, match="came free"):
            await db.fetchval(statement("SELECT 1"))


async def test_a_server_that_stays_away_is_reported_in_time() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"postgresql://127.0.0.1:{nobody.getsockname()[1]}/ewms"
        with pytest.raises(DatabaseUnavailable) as away:
            async with open_database(
                url, application_name="test", connect_timeout=timedelta(milliseconds=200)
            ):
                pass
    assert away.value.retry_after > timedelta(0)


async def test_a_database_that_does_not_exist_is_not_waited_for(postgres_server: str) -> None:
    missing = urlunsplit(urlsplit(postgres_server)._replace(path="/missing"))
    with pytest.raises(DatabaseError) as refused:
        async with open_database(missing, application_name="test"):
            pass
    assert not isinstance(refused.value, DatabaseUnavailable)


async def test_connections_are_given_in_the_order_of_asking(database_url: str) -> None:
    """So a loop has its turn under any number of calls, however many come after it."""
    order: list[str] = []

    async def ask(db: Database, name: str) -> None:
        await db.fetchval(statement("SELECT pg_sleep(0.02)"))
        order.append(name)

    async with (
        open_database(database_url, application_name="test", min_size=2, max_size=2) as db,
        asyncio.TaskGroup() as group,
    ):
        for name in (*["early"] * 20, "loop", *["late"] * 100):
            group.create_task(ask(db, name))
    # At most the one beside it, on the other connection, is through before it.
    assert order.index("loop") <= 21
    assert order[:20].count("early") >= 19


async def test_sqlalchemy_s_kind_of_url_is_taken_too(database_url: str) -> None:
    url = database_url.replace("postgresql://", "postgresql+asyncpg://")
    async with open_database(url, application_name="named") as db:
        assert await db.fetchval(statement("SHOW application_name")) == "named"


async def test_behind_a_pooler_nothing_is_prepared_by_name(database_url: str) -> None:
    async with open_database(
        database_url, application_name="test", pooled=True, min_size=1, max_size=1
    ) as db:
        assert await db.fetchval(statement("SELECT :a::jsonb"), a=[1]) == [1]
        assert await db.fetch(statement("SELECT name FROM pg_prepared_statements")) == []


@pytest.mark.parametrize("error", [TimeoutError, ConnectionResetError])
async def test_errors_of_the_caller_pass_through_unchanged(
    db: Database, error: type[Exception]
) -> None:
    async def fail(tx: Transaction) -> None:
        raise error

    with pytest.raises(error):
        await db.transact(fail)
