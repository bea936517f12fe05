"""Gives positions to what was committed, and in time takes them away again.

One process of many does it, elected; two at once, for the moments in which an election is unclear,
are slower and not wrong. Woken by commits of this process and by notifications of others; a slow
poll covers a lost one. Goes on after any outage of the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

import structlog

from ewms_postgres.backoff import Backoff
from ewms_postgres.database import Database
from ewms_postgres.errors import DatabaseError
from ewms_postgres.leadership import run_elected
from ewms_rpc.metrics import loop_failed
from wms_grpc.storage.outbox import compact, move_outbox

__all__ = ["Outbox", "OutboxSettings"]

_MOVED_AT_ONCE = 2000
_COMPACTED_AT_ONCE = 1000

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class OutboxSettings:
    """How positions are given and taken.

    Parameters
    ----------
    pause
        Rest between hearing of a commit and the move. It makes moves few and large, and keeps
        them out of the way of what the commit has set off.
    poll_interval
        How often the outbox is looked at although nothing was heard.
    retention
        For how long revisions are kept.
    compaction_interval
        How often those that are older are removed.
    """

    pause: timedelta = timedelta(milliseconds=20)
    poll_interval: timedelta = timedelta(seconds=5)
    retention: timedelta = timedelta(days=7)
    compaction_interval: timedelta = timedelta(minutes=1)


class Outbox:
    """The outbox's mover and the feed's compaction.

    Parameters
    ----------
    db
        The database.
    database_url
        Its server itself, for the election.
    on_moved
        Called after each move with the last position.
    settings
        How positions are given and taken.
    """

    def __init__(
        self,
        db: Database,
        database_url: str,
        on_moved: Callable[[int], None],
        settings: OutboxSettings,
    ) -> None:
        self._db = db
        self._url = database_url
        self._on_moved = on_moved
        self._settings = settings
        self._due = asyncio.Event()

    def wake(self) -> None:
        """Look into the outbox: something was committed."""
        self._due.set()

    async def run(self) -> None:
        """Stand for election, and do the work while elected, until cancelled."""
        await run_elected(self._url, "wms outbox", self._lead, application_name="ewms-wms-outbox")

    async def _lead(self) -> None:
        async with asyncio.TaskGroup() as loops:
            loops.create_task(_surviving(self._move))
            loops.create_task(_surviving(self._compact))

    async def _move(self) -> None:
        self._due.clear()
        moved, position = await move_outbox(self._db, limit=_MOVED_AT_ONCE)
        if moved:
            self._on_moved(position)
        if moved < _MOVED_AT_ONCE:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.poll_interval.total_seconds()):
                    await self._due.wait()
            await asyncio.sleep(self._settings.pause.total_seconds())

    async def _compact(self) -> None:
        forgotten = await compact(self._db, self._settings.retention, limit=_COMPACTED_AT_ONCE)
        if forgotten:
            _log.info("old revisions removed", revisions=forgotten)
        if forgotten < _COMPACTED_AT_ONCE:
            await asyncio.sleep(self._settings.compaction_interval.total_seconds())


async def _surviving(step: Callable[[], Awaitable[None]]) -> None:
    backoff = Backoff()
    while True:
        try:
            await step()
            backoff.reset()
        except DatabaseError as error:
            loop_failed("outbox")
            _log.log(backoff.level, "the outbox waits for the database", reason=str(error))
            await backoff.wait()
