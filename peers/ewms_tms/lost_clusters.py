"""Clusters that are in neither queue nor log: a full disk loses events for good.

Guarantees that a cluster counts as lost only when the queue was asked twice, some time apart, and
its log says nothing of its end even then. Seldom, since the queue has other work: on the normal
path a cluster's end is in the log.
"""

from __future__ import annotations

import asyncio

import structlog

from ewms_tms.clusters import ClusterBook
from ewms_tms.grid import Cluster, Dispatcher, GridError

__all__ = ["LostClusters"]

_INTERVAL_SECONDS = 600.0
# The queue forgets a cluster a little before the log's last event of it is read.
_GRACE_SECONDS = 30.0

log = structlog.get_logger(__name__)


class LostClusters:
    """Compares the clusters that we wait for with those in the queue.

    Parameters
    ----------
    dispatcher, book
        Where they should be, and what we wait for.
    interval, grace
        Seconds between comparisons, and before one is made again to be certain.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        book: ClusterBook,
        interval: float = _INTERVAL_SECONDS,
        grace: float = _GRACE_SECONDS,
    ) -> None:
        self._dispatcher, self._book = dispatcher, book
        self._interval, self._grace = interval, grace
        self._wanted = asyncio.Event()

    def ask_soon(self) -> None:
        """A log cannot be read, or is gone: do not wait for the interval's end."""
        self._wanted.set()

    async def next(self) -> list[Cluster]:
        """Wait until clusters are lost, and return them."""
        while True:
            try:
                async with asyncio.timeout(self._interval):
                    await self._wanted.wait()
            except TimeoutError:
                pass
            self._wanted.clear()
            try:
                missing = await self._missing()
                if missing:
                    await asyncio.sleep(self._grace)
                    again = await self._missing()
                    lost = [each for number, each in again.items() if number in missing]
                    if lost:
                        return lost
            except GridError as error:
                log.warning("the queue cannot be compared", error=str(error))

    async def _missing(self) -> dict[int, Cluster]:
        # What is submitted after this is not looked for, so it cannot be missed.
        waited_for = self._book.announced()
        if not waited_for:
            return {}
        living = await self._dispatcher.living()
        still = {cluster.cluster_id for cluster in self._book.announced()}
        return {
            cluster.cluster_id: cluster
            for cluster in waited_for
            if cluster.cluster_id not in living and cluster.cluster_id in still
        }
