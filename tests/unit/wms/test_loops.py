"""Reconcilers survive whatever their step raises, and come back when due or woken."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
import structlog

from ewms_postgres.errors import DatabaseUnavailable
from wms_grpc.domain.errors import PeerUnavailable
from wms_grpc.domain.topics import CLOSING
from wms_grpc.engine.loops import reconcile
from wms_grpc.engine.wakeups import Wakeups

_OUTAGE = DatabaseUnavailable("cannot reach the database")


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (_OUTAGE, "warning"),
        (PeerUnavailable("the MQS does not answer", timedelta(seconds=1)), "warning"),
        (ExceptionGroup("at once", [_OUTAGE, _OUTAGE]), "warning"),
        (ExceptionGroup("at once", [_OUTAGE, ValueError("a bug")]), "error"),
        (ValueError("a bug"), "error"),
    ],
)
async def test_a_loop_survives_and_says_how_bad_it_was(error: Exception, level: str) -> None:
    again = asyncio.Event()
    n_steps = 0

    async def step() -> float | None:
        nonlocal n_steps
        n_steps += 1
        if n_steps == 1:
            raise error
        again.set()
        return None

    wakeups = Wakeups(lambda channel, payload: None)
    with structlog.testing.capture_logs() as logs:
        looping = asyncio.create_task(reconcile("test", CLOSING, wakeups, step))
        async with asyncio.timeout(5):
            await again.wait()
        looping.cancel()

    assert [log["log_level"] for log in logs] == [level]


async def test_a_loop_comes_back_when_it_is_due_and_when_it_is_woken() -> None:
    steps: asyncio.Queue[int] = asyncio.Queue()
    dues = iter([0.001, None, None])

    async def step() -> float | None:
        steps.put_nowait(steps.qsize())
        return next(dues)

    wakeups = Wakeups(lambda channel, payload: None)
    looping = asyncio.create_task(reconcile("test", CLOSING, wakeups, step))
    async with asyncio.timeout(3):
        await steps.get()
        await steps.get()
        wakeups.wake([CLOSING])
        await steps.get()
    looping.cancel()
