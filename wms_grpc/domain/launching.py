"""Who is launched at a cluster location, as a pure function."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

__all__ = ["SYSTEM_PRIORITY", "HasTurn", "count_launchable"]

SYSTEM_PRIORITY: Final = 100
"""Above it a location's limit does not apply: the system's own, and workers that were added."""


class HasTurn(NamedTuple):
    """A taskforce that waits: what it asks for, and with which priority."""

    n_workers: int
    priority: int


def count_launchable(waiting: Iterable[HasTurn], n_idle: int, limit: int) -> int:
    """Return how many of those who wait, in their order, are launched now.

    Each is launched as long as fewer workers than the limit are idle before it, so the last one
    may go over the limit, and a taskforce larger than the limit is not stuck for ever.
    """
    launched = 0
    for n_workers, priority in waiting:
        if n_idle >= limit and priority <= SYSTEM_PRIORITY:
            break
        n_idle += n_workers
        launched += 1
    return launched
