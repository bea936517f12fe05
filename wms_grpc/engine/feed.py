"""The change feed as a process follows it, for all watches of the process.

What the process itself commits goes straight onto the trails of those who watch; what others
commit is read from the table, in one query for all workflows that need it. Notifications only say
where to look, and a slow poll looks everywhere, so a lost one costs time and never a revision.
Goes on after any outage of the database, and writes nothing but positions.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from itertools import groupby
from typing import Final

import structlog

from ewms_postgres.backoff import Backoff
from ewms_postgres.database import Database
from ewms_postgres.errors import DatabaseError
from ewms_rpc.metrics import loop_failed
from wms_grpc.domain.ids import WorkflowId
from wms_grpc.engine.outbox import Outbox, OutboxSettings
from wms_grpc.engine.trail import Ring
from wms_grpc.engine.trails import Trails
from wms_grpc.storage.encoded_revisions import CommittedPart
from wms_grpc.storage.feed import feed_head, read_positions, read_revisions
from wms_grpc.storage.feed_parts import Position, PositionPart, RevisionPart

__all__ = ["FEED_CHANNEL", "POSITION_CHANNEL", "Feed", "FeedSettings"]

FEED_CHANNEL: Final = "wms_feed"
POSITION_CHANNEL: Final = "wms_position"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FeedSettings:
    """How the feed is followed and kept.

    Parameters
    ----------
    ring_bytes
        What all trails of the process hold at most.
    poll_interval
        How often the tables are looked at although nothing was heard.
    outbox
        How positions are given, and for how long revisions are kept.
    """

    ring_bytes: int = 32 << 20
    poll_interval: timedelta = timedelta(seconds=5)
    outbox: OutboxSettings = field(default_factory=OutboxSettings)


class Feed:
    """The feed of one process.

    To be wired: `Store.on_commit` calls `committed`; a `Listener` on `Feed.channels` calls
    `on_notification` and, as its `on_gap`, `missed`; `run` runs for as long as the process serves.
    Watches follow `workflows`, by id, and `positions`, which has one trail, `None`; `ring` bounds
    what both hold.

    Parameters
    ----------
    db
        The database.
    database_url
        Its server itself, not a pooler: the one process that gives positions is elected there.
    notify
        `Notifier.notify`, with which the other processes are told.
    settings
        How the feed is followed and kept.
    """

    channels: Final = (FEED_CHANNEL, POSITION_CHANNEL)

    def __init__(
        self,
        db: Database,
        database_url: str,
        notify: Callable[[str, str], None],
        settings: FeedSettings | None = None,
    ) -> None:
        self._db = db
        self._notify = notify
        self._settings = settings or FeedSettings()
        # By this a process knows the echo of its own notifications, of which it has no use.
        self._name = secrets.token_hex(4)
        self._poll_due = asyncio.Event()
        self.ring = Ring(self._settings.ring_bytes)
        self.workflows: Trails[WorkflowId, RevisionPart] = Trails(
            self.ring, partial(read_revisions, db)
        )
        self.positions: Trails[None, PositionPart] = Trails(self.ring, self._read_positions)
        self._outbox = Outbox(db, database_url, self._moved, self._settings.outbox)

    def committed(self, parts: Sequence[CommittedPart]) -> None:
        """Hand on what this process has just committed."""
        for workflow_id, of_workflow in groupby(parts, key=lambda part: part.workflow_id):
            if self.workflows.are_followed:
                self.workflows.extend(workflow_id, map(RevisionPart.committed, of_workflow))
            self._notify(FEED_CHANNEL, f"{workflow_id} {self._name}")
        self._outbox.wake()

    def on_notification(self, channel: str, payload: str) -> None:
        """Take what was said on one of the channels; an empty payload means anything."""
        number_or_id, _, sender = payload.partition(" ")
        if not number_or_id:
            self.missed()
        elif channel == POSITION_CHANNEL:
            self.positions.reach(None, int(number_or_id))
        elif sender != self._name:
            self.notified([WorkflowId(number_or_id)])

    def notified(self, workflow_ids: Iterable[WorkflowId]) -> None:
        """Look at these workflows: another process has changed them."""
        for workflow_id in workflow_ids:
            self.workflows.reach(workflow_id)
        self._outbox.wake()

    def missed(self) -> None:
        """Look at everything: notifications may have been lost."""
        self._poll_due.set()
        self._outbox.wake()

    async def run(self) -> None:
        """Follow the feed until cancelled."""
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self.workflows.keep_reading())
            loops.create_task(self.positions.keep_reading())
            loops.create_task(self._keep_polling())
            loops.create_task(self._outbox.run())

    def _moved(self, position: int) -> None:
        self.positions.reach(None, position)
        self._notify(POSITION_CHANNEL, str(position))

    async def _read_positions(
        self, epoch: str, after: Sequence[tuple[None, Position]], *, max_bytes: int
    ) -> tuple[Mapping[None, Sequence[PositionPart]], bool]:
        [(_, position)] = after
        parts, has_more = await read_positions(self._db, epoch, position, max_bytes=max_bytes)
        return ({None: parts} if parts else {}), has_more

    async def _keep_polling(self) -> None:
        backoff = Backoff()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.poll_interval.total_seconds()):
                    await self._poll_due.wait()
            self._poll_due.clear()
            try:
                await self._poll()
                backoff.reset()
            except DatabaseError as error:
                loop_failed("feed")
                _log.log(backoff.level, "the feed waits for the database", reason=str(error))
                self._poll_due.set()
                await backoff.wait()

    async def _poll(self) -> None:
        followed: list[Trails[WorkflowId, RevisionPart] | Trails[None, PositionPart]]
        followed = [trails for trails in (self.workflows, self.positions) if trails.are_followed]
        if not followed:
            return
        epoch = (await feed_head(self._db)).epoch
        for trails in followed:
            if trails.epoch and trails.epoch != epoch:
                _log.warning("watches end", reason="the feed was renewed")
                trails.lose_all()
            trails.reach_all()
