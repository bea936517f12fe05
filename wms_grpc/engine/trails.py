"""All trails of one kind in a process, and the one reader that extends them from the table.

Reads for all trails that are due in one query, bounded in bytes. Survives outages of the database:
what was due stays due. A trail that cannot be continued, because the feed was renewed or what
follows is no longer kept, is lost, and its followers are told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

import structlog

from ewms_postgres.backoff import Backoff
from ewms_postgres.errors import DatabaseError, DatabaseUnavailable
from ewms_rpc.metrics import loop_failed
from wms_grpc.domain.errors import PositionLost
from wms_grpc.engine.trail import Follower, Ring, Trail
from wms_grpc.storage.feed_parts import FeedPart, Position, whole

__all__ = ["ReadFeed", "Trails"]

# One that is behind reads for itself; what it has read and not sent is all that it holds.
_BEHIND_BYTES = 1 << 20
_READ_BYTES = 4 << 20
_TRAILS_AT_ONCE = 1000

KeyT = TypeVar("KeyT", bound=Hashable)
PartT = TypeVar("PartT", bound=FeedPart)
PartT_co = TypeVar("PartT_co", bound=FeedPart, covariant=True)

_log = structlog.get_logger(__name__)


class ReadFeed(Protocol[KeyT, PartT_co]):
    """Reads a feed's table: what follows each place, and whether there may be more."""

    def __call__(
        self, epoch: str, after: Sequence[tuple[KeyT, Position]], *, max_bytes: int
    ) -> Awaitable[tuple[Mapping[KeyT, Sequence[PartT_co]], bool]]:
        """Raises PositionLost when the feed has another epoch by now."""


class Trails(Generic[KeyT, PartT]):
    """The trails that are followed, by what they are trails of.

    Parameters
    ----------
    ring
        The bound in bytes.
    read
        Reads the table.

    `epoch` is the feed's that they belong to, empty before the first.
    """

    def __init__(self, ring: Ring, read: ReadFeed[KeyT, PartT]) -> None:
        self._ring = ring
        self._read = read
        self._trails: dict[KeyT, Trail[PartT]] = {}
        self._due = asyncio.Event()
        self.epoch = ""

    @property
    def are_followed(self) -> bool:
        """Whether anyone follows any."""
        return bool(self._trails)

    def count_followers(self) -> int:
        """Return how many watches follow."""
        return sum(trail.n_followers for trail in self._trails.values())

    @contextmanager
    def follow(self, key: KeyT) -> Iterator[Follower[PartT]]:
        """Follow a trail: from here on nothing gets by it.

        Read within the block where the feed stands, and then `begin` there.
        """
        trail = self._trails.get(key)
        if trail is None:
            trail = self._trails[key] = Trail(self._ring)
        follower = Follower(trail)
        trail.join(follower)
        try:
            yield follower
        finally:
            trail.leave(follower)
            if not trail.is_followed:
                self._forget(key, trail)

    def begin(self, follower: Follower[PartT], epoch: str, after: int, newest: int) -> None:
        """Have a follower go on behind `after`, in a feed that has come to `newest` at least.

        An epoch other than the one known ends those who followed the old feed.
        """
        if epoch != self.epoch:
            self.lose_all()
            self.epoch = epoch
        follower.position = whole(after)
        trail = follower.trail
        trail.begin(whole(newest))
        if trail.is_due or not trail.reaches(newest):
            trail.is_due = True
            self._due.set()

    def extend(self, key: KeyT, parts: Iterable[PartT]) -> None:
        """Put parts on the trail, if it is followed; what does not fit is read from the table."""
        trail = self._trails.get(key)
        if trail is None:
            return
        for part in parts:
            if not trail.append(part):
                self.reach(key, part.position[0])
        trail.wake()

    def reach(self, key: KeyT, number: int | None = None) -> None:
        """Look for more on this trail, unless it has come to that number already."""
        trail = self._trails.get(key)
        if trail is not None and not (number is not None and trail.reaches(number)):
            trail.is_due = True
            self._due.set()

    def reach_all(self) -> None:
        """Look for more on every trail."""
        for key in self._trails:
            self.reach(key)

    def lose_all(self) -> None:
        """End every trail that has begun, and so everyone who follows one."""
        for key, trail in list(self._trails.items()):
            if trail.newest is not None:
                self._lose(key, trail)

    async def catch_up(self, key: KeyT, follower: Follower[PartT]) -> None:
        """Read what follows from the table, for a follower that is behind its trail.

        Waits for a database that is away. Raises PositionLost if what follows is not kept.
        """
        backoff = Backoff()
        place = (key, follower.position)
        while True:
            try:
                found, _ = await self._read(self.epoch, [place], max_bytes=_BEHIND_BYTES)
            except DatabaseUnavailable as error:
                loop_failed("watch")
                _log.log(backoff.level, "a watch waits for the database", reason=str(error))
                await backoff.wait()
                continue
            if key not in found:
                raise PositionLost(f"what follows {follower.position[0]} is no longer kept")
            follower.catch_up(found[key])
            return

    async def keep_reading(self) -> None:
        """Extend trails as they are due, until cancelled."""
        backoff = Backoff()
        while True:
            await self._due.wait()
            self._due.clear()
            try:
                await self._read_due()
                backoff.reset()
            except PositionLost as error:
                _log.warning("watches end", reason=str(error))
                self.lose_all()
            except DatabaseError as error:
                loop_failed("watches")
                _log.log(backoff.level, "watches wait for the database", reason=str(error))
                await backoff.wait()

    async def _read_due(self) -> None:
        due = {key: trail for key, trail in self._trails.items() if trail.is_due}
        places = [(key, t.newest) for key, t in due.items() if t.newest][:_TRAILS_AT_ONCE]
        if not places:
            return
        for key, _ in places:
            due[key].is_due = False
        # Stays so if the read fails.
        has_more = True
        try:
            found, has_more = await self._read(self.epoch, places, max_bytes=_READ_BYTES)
            for key, parts in found.items():
                self._continue(key, due[key], parts)
        finally:
            if has_more:
                for key, _ in places:
                    due[key].is_due = True
            if has_more or len(due) > len(places):
                self._due.set()

    def _continue(self, key: KeyT, trail: Trail[PartT], parts: Sequence[PartT]) -> None:
        for part in parts:
            # What the process committed itself in the meantime is there already.
            is_new = trail.newest is not None and part.position > trail.newest
            if is_new and not trail.append(part) and trail.is_followed:
                _log.warning("watches end", reason="the feed has a gap", number=part.position[0])
                self._lose(key, trail)
                return
        trail.wake()

    def _lose(self, key: KeyT, trail: Trail[PartT]) -> None:
        self._forget(key, trail)
        trail.lose()

    def _forget(self, key: KeyT, trail: Trail[PartT]) -> None:
        if self._trails.get(key) is trail:
            del self._trails[key]
