"""Clusters that are in neither queue nor log."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from ewms_tms.clusters import ClusterBook
from ewms_tms.grid import Cluster, GridUnavailable, Observation, TaskforceUuid
from ewms_tms.job_events import CLUSTER_PROC, ClusterId, EventKind, JobEvent
from ewms_tms.lost_clusters import LostClusters

NOW = datetime(2026, 11, 25, tzinfo=UTC)
ONE = Cluster(ClusterId(1), TaskforceUuid("TF-1"), 1, 2, NOW, "/log")
TWO = Cluster(ClusterId(2), TaskforceUuid("TF-2"), 1, 2, NOW, "/log")
GRACE = 0.01


class Queue:
    """A queue that answers what it is told to, one answer after the other."""

    def __init__(self, *answers: set[int] | None) -> None:
        self._answers = list(answers)
        self.n_asked = 0
        self.before_last = lambda: None

    async def living(self) -> frozenset[ClusterId]:
        self.n_asked += 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if len(self._answers) == 1:
            self.before_last()
        if answer is None:
            raise GridUnavailable("away")
        return frozenset(map(ClusterId, answer))


def a_book() -> ClusterBook:
    book = ClusterBook(())
    for cluster in (ONE, TWO):
        book.add(cluster)
        book.announce(cluster.cluster_id)
    return book


async def first_lost(queue: Queue, book: ClusterBook) -> list[Cluster]:
    async with asyncio.timeout(10):
        return await LostClusters(queue, book, GRACE, GRACE).next()  # type: ignore[arg-type]


async def test_a_cluster_is_lost_that_the_queue_twice_does_not_have() -> None:
    queue = Queue({1, 2}, {1}, {1, 2}, None, {1}, {1})
    assert await first_lost(queue, a_book()) == [TWO]
    assert queue.n_asked == 6


async def test_one_whose_end_is_told_meanwhile_is_not_lost() -> None:
    book = a_book()
    queue = Queue({1}, {1}, set())
    ended = JobEvent(EventKind.CLUSTER_REMOVE, ClusterId(2), CLUSTER_PROC, NOW)
    book_end = Observation([ended], True)
    queue.before_last = lambda: book.observe(book_end)
    assert await first_lost(queue, book) == [ONE]


async def test_a_reason_to_ask_does_not_wait_for_the_intervals_end() -> None:
    lost = LostClusters(Queue(set()), a_book(), 3600, GRACE)  # type: ignore[arg-type]
    lost.ask_soon()
    async with asyncio.timeout(10):
        assert await lost.next() == [ONE, TWO]
