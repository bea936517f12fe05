"""The shape of every reconciler: look, do, wait to be woken; survive what it depends on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from ewms_postgres.errors import DatabaseUnavailable
from ewms_rpc.backoff import Backoff
from ewms_rpc.metrics import loop_failed
from wms_grpc.domain.errors import PeerUnavailable
from wms_grpc.domain.topics import Topic
from wms_grpc.engine.wakeups import Wakeups

__all__ = ["POLL", "reconcile"]

_log = structlog.get_logger(__name__)

POLL: Final = 5.0
"""Seconds between two looks when nothing wakes a loop: the cover for a lost notification."""


async def reconcile(
    name: str,
    topic: Topic,
    wakeups: Wakeups,
    step: Callable[[], Awaitable[float | None]],
) -> None:
    """Run a reconciler for ever.

    `step` does all that there is to do, and returns after how many seconds it is due again, None
    for when it is woken. Whatever it raises is logged, and it is tried again after a backoff: a
    loop that ends would be found by nobody at 3 a.m.
    """
    backoff = Backoff(first=0.1, limit=10.0)
    while True:
        seen = wakeups.seen(topic)
        try:
            due = await step()
        except Exception as error:
            is_outage = _is_outage(error)
            loop_failed(name, is_outage=is_outage)
            if is_outage:
                _log.log(backoff.level, "put off", loop=name, why=str(error))
            else:
                _log.exception("failed", loop=name)
            await backoff.wait()
        else:
            backoff.reset()
            await wakeups.wait(topic, seen, POLL if due is None else max(0.0, min(due, POLL)))


def _is_outage(error: Exception) -> bool:
    if isinstance(error, ExceptionGroup):
        return all(_is_outage(part) for part in error.exceptions)
    return isinstance(error, (DatabaseUnavailable, PeerUnavailable))
