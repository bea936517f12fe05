"""Trails: the recent part of a feed in memory, encoded once for all who follow it.

A trail holds consecutive parts of one workflow's feed, or of the feed of positions; all trails of
a process share one bound in bytes, beyond which the oldest parts go. A follower is a place on the
trail and nothing more: there is no buffer for it, and while it waits it costs a future. One that is
behind the trail's beginning is given bounded reads of the table until it is on the trail again.
Nothing here does I/O.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeVar

from wms_grpc.domain.errors import PositionLost
from wms_grpc.storage.feed_parts import FeedPart, Position, whole

__all__ = ["Follower", "Ring", "Trail"]

PartT = TypeVar("PartT", bound=FeedPart)


class Ring:
    """The bound that all trails share, and the order in which their parts go."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._next = 0
        self._by_age: dict[int, Trail[FeedPart]] = {}

    @property
    def bytes_held(self) -> int:
        """Bytes of all parts that the trails hold now."""
        return self._bytes

    def hold(self, trail: Trail[PartT], size: int) -> int:
        """Count one more part of the trail in, and the oldest of any out; return its number."""
        self._next += 1
        self._by_age[self._next] = trail  # type: ignore[assignment]  # the part's type is not used
        self._bytes += size
        return self._next

    def shrink(self) -> None:
        """Have the oldest parts go until the rest is within the bound."""
        while self._bytes > self._max_bytes and self._by_age:
            next(iter(self._by_age.values())).drop_oldest()

    def release(self, number: int, size: int) -> None:
        """Count a part out."""
        del self._by_age[number]
        self._bytes -= size


class Trail(Generic[PartT]):
    """Consecutive parts, from behind `base` to `newest`; both None until the first place is known.

    `is_due` says that the table may hold more than the trail.
    """

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._parts: deque[PartT] = deque()
        self._numbers: deque[int] = deque()
        self._followers: set[Follower[PartT]] = set()
        self.base: Position | None = None
        self.newest: Position | None = None
        self.is_due = False
        self.is_lost = False

    @property
    def is_followed(self) -> bool:
        """Whether anyone follows it."""
        return bool(self._followers)

    @property
    def n_followers(self) -> int:
        """How many follow it."""
        return len(self._followers)

    def begin(self, position: Position) -> None:
        """Begin behind that place, unless the trail has begun."""
        if self.newest is None:
            self.base = self.newest = position

    def reaches(self, number: int) -> bool:
        """Whether the trail has come to that number, all its parts included."""
        return self.newest is not None and self.newest >= whole(number)

    def append(self, part: PartT) -> bool:
        """Put the part at the end.

        Returns False, having done nothing, if it is not the next one or nobody follows any more.
        """
        if part.previous != self.newest or not self._followers or self.is_lost:
            return False
        self._parts.append(part)
        self._numbers.append(self._ring.hold(self, part.size))
        self.newest = part.position
        self._ring.shrink()
        return True

    def after(self, position: Position) -> PartT | None:
        """Return the part that follows the place; None if the trail does not hold it."""
        if not self._parts:
            return None
        last = self._parts[-1]
        if last.previous == position:
            return last
        index = bisect_right(self._parts, position, key=lambda part: part.position)
        return self._parts[index] if index < len(self._parts) else None

    def drop_oldest(self) -> None:
        """Let the oldest part go: who has not had it reads it from the table."""
        part = self._parts.popleft()
        self.base = part.position
        self._ring.release(self._numbers.popleft(), part.size)

    def wake(self) -> None:
        """Have every follower look again."""
        for follower in self._followers:
            follower.wake()

    def lose(self) -> None:
        """End every follower: what they follow is no longer the feed."""
        self.is_lost = True
        self._clear()
        self.wake()

    def join(self, follower: Follower[PartT]) -> None:
        """Take a follower in."""
        self._followers.add(follower)

    def leave(self, follower: Follower[PartT]) -> None:
        """Let a follower go, and with the last one all that the trail holds."""
        self._followers.discard(follower)
        if not self._followers:
            self._clear()

    def _clear(self) -> None:
        while self._parts:
            self.drop_oldest()


class Follower(Generic[PartT]):
    """One watch's place on a trail, `position`: all up to it has been taken."""

    def __init__(self, trail: Trail[PartT]) -> None:
        self.trail = trail
        self._read: deque[PartT] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self.position: Position = (0, 0)

    @property
    def is_behind(self) -> bool:
        """Whether what follows must be read from the table, since the trail does not hold it."""
        base = self.trail.base
        return base is not None and self.position < base and not self._read

    def take(self) -> PartT | None:
        """Return what follows and go on behind it; None if it is not there yet.

        Raises PositionLost when it never will be.
        """
        trail = self.trail
        if trail.is_lost:
            raise PositionLost("the feed was renewed, or is no longer kept; begin with a snapshot")
        if self._read:
            part: PartT | None = self._read.popleft()
        elif trail.newest is None or self.position >= trail.newest or self.is_behind:
            return None
        else:
            part = trail.after(self.position)
        if part is None or part.previous != self.position:
            raise PositionLost(f"what follows {self.position[0]} is no longer kept")
        self.position = part.position
        return part

    def catch_up(self, parts: Iterable[PartT]) -> None:
        """Take in what was read from the table for it."""
        self._read.extend(parts)

    def wake(self) -> None:
        """Have `wait` return."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def wait(self) -> None:
        """Wait until woken: by a new part, or by whoever else calls `wake`."""
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            await self._waiting
        finally:
            self._waiting = None
