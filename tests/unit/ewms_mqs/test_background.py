"""Loops beside the server, through outages of the database."""

from __future__ import annotations

import pytest

from ewms_mqs.background import through_outages
from ewms_postgres.errors import DatabaseUnavailable


async def test_a_loop_that_the_database_fails_is_begun_again_until_it_returns() -> None:
    outcomes = [DatabaseUnavailable("away"), DatabaseUnavailable("away"), None]

    async def loop() -> None:
        if failure := outcomes.pop(0):
            raise failure

    await through_outages("test", loop)
    assert outcomes == []


async def test_any_other_failure_of_a_loop_is_a_fault_and_seen() -> None:
    async def loop() -> None:
        raise RuntimeError("a fault")

    with pytest.raises(RuntimeError, match="a fault"):
        await through_outages("test", loop)
