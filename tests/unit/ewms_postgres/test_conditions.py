"""What a database that cannot serve now is said to be, in words that anybody may read."""

from __future__ import annotations

import asyncpg
import pytest

from ewms_postgres.errors import DatabaseUnavailable, translated


@pytest.mark.parametrize(
    ("error", "condition"),
    [
        (asyncpg.DiskFullError("secret"), "the database's disk is full"),
        (asyncpg.TooManyConnectionsError("secret"), "the database has no connection left"),
        (asyncpg.OutOfMemoryError("secret"), "the database lacks resources"),
        (asyncpg.AdminShutdownError("secret"), "the database is away"),
        (ConnectionRefusedError(111, "secret"), "the database is away"),
    ],
)
def test_the_cause_is_named_and_nothing_else_is_told(error: Exception, condition: str) -> None:
    with pytest.raises(DatabaseUnavailable) as unavailable, translated():
        raise error
    assert unavailable.value.condition == condition
