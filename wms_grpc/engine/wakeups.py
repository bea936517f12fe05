"""Wakes loops: those of this process directly, those of others by the database's notification.

A wake-up is never lost: whoever waits says which wake-up it saw last. It may come without need,
so a loop looks at the database each time. Waiting ends by itself after a while, which covers a
notification that got lost.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Final

from wms_grpc.domain.topics import LAUNCH_ANYWHERE, Topic

__all__ = ["WAKE_CHANNEL", "Wakeups"]

WAKE_CHANNEL: Final = "wms_wake"


class Wakeups:
    """The wake-ups of one process.

    Parameters
    ----------
    notify
        Sends (channel, payload) to the other processes, soon and without waiting.
    """

    def __init__(self, notify: Callable[[str, str], None]) -> None:
        self._notify = notify
        # Marks our own notifications, which come back to us.
        self._sender = secrets.token_hex(4)
        self._count: defaultdict[Topic, int] = defaultdict(int)
        self._waiting: defaultdict[Topic, set[asyncio.Future[None]]] = defaultdict(set)

    def wake(self, topics: Iterable[Topic]) -> None:
        """Wake whoever waits for these topics, here and elsewhere."""
        for topic in topics:
            self._wake(topic)
            self._notify(WAKE_CHANNEL, f"{self._sender} {topic}")

    def wake_here(self, topic: Topic) -> None:
        """Wake whoever waits for a topic that concerns this process alone."""
        self._wake(topic)

    def heard(self, payload: str) -> None:
        """Take a notification of the database."""
        sender, _, topic = payload.partition(" ")
        if sender != self._sender:
            self._wake(Topic(topic))

    def wake_all(self) -> None:
        """Wake everyone here: notifications may have been missed."""
        for topic in self._known():
            self._wake(topic)

    def seen(self, topic: Topic) -> int:
        """Return the number of the topic's last wake-up, to be given to `wait` later."""
        return self._count[topic]

    async def wait(self, topic: Topic, seen: int, timeout: float) -> None:
        """Return once there is a wake-up after `seen`, or `timeout` seconds have passed."""
        if self._count[topic] != seen:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[topic].add(waiter)
        try:
            async with asyncio.timeout(timeout):
                await waiter
        except TimeoutError:
            pass
        finally:
            self._waiting[topic].discard(waiter)

    def _known(self) -> set[Topic]:
        # Who works just now waits for nothing, and must be woken when it comes back.
        return {*self._waiting, *self._count}

    def _wake(self, topic: Topic) -> None:
        if topic == LAUNCH_ANYWHERE:
            for other in self._known():
                if other.startswith(("launch:", "assign:")):
                    self._wake(other)
        self._count[topic] += 1
        for waiter in self._waiting[topic]:
            if not waiter.done():
                waiter.set_result(None)
        self._waiting[topic].clear()
