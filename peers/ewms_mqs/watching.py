"""Watching queues: closing and draining at once, counts now and then.

A watch for transitions alone is told of dead letters, too, at most once a second: they want
somebody's attention.

One reader a process looks for transitions for all watchers. A watcher has one place for each
queue with news, not a buffer: what it has not taken is replaced by what is newer. Guarantees that
every queue asked for comes first, and that a closing or draining which is committed is told,
though a notification get lost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from datetime import timedelta

import structlog

from ewms.mqs.v1 import mqs_service_pb2 as pb
from ewms_mqs.brokers import Broker
from ewms_mqs.consuming import Consuming
from ewms_mqs.counting import Meter, RecentCounts
from ewms_mqs.messages import stats_message
from ewms_mqs.model import QueueNo, QueueState, WorkflowId
from ewms_mqs.register import Register
from ewms_postgres.backoff import Backoff
from ewms_postgres.errors import DatabaseError
from ewms_rpc.metrics import loop_failed

__all__ = ["Watching"]

_log = structlog.get_logger(__name__)

_PAGE = 1_000
_POLL_SECONDS = 5.0
# Longer than a transaction that changes a queue takes from its clock to its commit.
_LOOK_BACK = timedelta(seconds=60)
_SIGN_OF_LIFE_SECONDS = 15.0
_DEAD_SECONDS = 1.0


class _Watcher:
    """One watch: whose queues, what was told of them, and what is new.

    With `tells_dead` a change of the dead letters is news, which waits for its second.
    """

    def __init__(self, workflow_ids: Set[WorkflowId] | None, *, tells_dead: bool) -> None:
        self.queues: dict[QueueNo, QueueState] = {}
        self._workflow_ids = workflow_ids
        self._tells_dead = tells_dead
        self._news: dict[QueueNo, QueueState] = {}
        self._dead_news: dict[QueueNo, QueueState] = {}
        self._dead_due = 0.0
        self._wake = asyncio.Event()

    def offer(self, state: QueueState) -> None:
        """Note a queue's state, if the queue is watched and the state is new."""
        queue = state.queue
        if self._workflow_ids is not None and queue.workflow_id not in self._workflow_ids:
            return
        known = self.queues.get(queue.number)
        if known is None or (known.is_closed, known.is_drained) != (
            state.is_closed,
            state.is_drained,
        ):
            self._news[queue.number] = state
            self._dead_news.pop(queue.number, None)
            self._wake.set()
        elif self._tells_dead and known.n_dead != state.n_dead:
            if queue.number in self._news:
                self._news[queue.number] = state
            else:
                self._dead_news[queue.number] = state
                self._wake.set()
        self.queues[queue.number] = state

    def forget(self, queue: QueueNo) -> None:
        """The queue is gone; what is still to be told of it will be told."""
        self.queues.pop(queue, None)

    def take_news(self) -> list[QueueState]:
        """States that are new, up to a page."""
        now = time.monotonic()
        source = self._news
        if not source and now >= self._dead_due:
            source = self._dead_news
        states = [source.pop(number) for number in list(source)[:_PAGE]]
        if states and source is self._dead_news and not source:
            self._dead_due = now + _DEAD_SECONDS
        if not self._news:
            self._wake.clear()
        return states

    async def wait_for_news(self, seconds: float) -> None:
        """Return when there is news that is due, or after so many seconds."""
        if self._dead_news:
            seconds = min(seconds, max(0.0, self._dead_due - time.monotonic()))
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return


class Watching:
    """The watchers of this process, and the reader that serves them."""

    def __init__(self, register: Register, broker: Broker, consuming: Consuming) -> None:
        self._register = register
        self._broker = broker
        self._consuming = consuming
        self._recent = RecentCounts(broker)
        self._watchers: set[_Watcher] = set()
        self._changed: set[QueueNo] = set()
        self._missed = False
        self._wake = asyncio.Event()

    def heard_changed(self, queue: QueueNo | None) -> None:
        """A queue, or any, was granted, closed, drained or released, or has other dead letters."""
        if not self._watchers:
            return
        if queue is None:
            self._missed = True
        else:
            self._changed.add(queue)
        self._wake.set()

    async def run(self) -> None:
        """Read what has changed for all watchers, until cancelled."""
        backoff = Backoff()
        while True:
            try:
                async with asyncio.timeout(_POLL_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                self._missed = True
            self._wake.clear()
            try:
                await self._read_changes()
                backoff.reset()
            except DatabaseError as error:
                loop_failed("watching")
                _log.log(backoff.level, "watches wait for the database", reason=str(error))
                # Longer than the look-back, perhaps.
                await self._reread_all_when_back(backoff)

    async def _reread_all_when_back(self, backoff: Backoff) -> None:
        while True:
            await backoff.wait()
            numbers = list({number for w in self._watchers for number in w.queues})
            try:
                for start in range(0, len(numbers), _PAGE):
                    states = await self._register.states(numbers[start : start + _PAGE])
                    self._offer(states.values())
            except DatabaseError:
                continue
            self._missed = True
            self._wake.set()
            return

    async def _read_changes(self) -> None:
        if not self._watchers:
            return
        if self._missed:
            self._offer(await self._register.changed(_LOOK_BACK))
            self._missed = False
        changed = list(self._changed)
        for start in range(0, len(changed), _PAGE):
            some = changed[start : start + _PAGE]
            states = await self._register.states(some)
            self._offer(states.values())
            for watcher in self._watchers:
                for number in some:
                    if number not in states:
                        watcher.forget(number)
            self._changed.difference_update(some)

    def _offer(self, states: Iterable[QueueState]) -> None:
        for state in states:
            for watcher in self._watchers:
                watcher.offer(state)

    async def watch(
        self, workflow_ids: Set[WorkflowId] | None, interval: float | None
    ) -> AsyncIterator[pb.WatchQueueStatsResponse]:
        """Every queue asked for, then what changes.

        Parameters
        ----------
        workflow_ids
            Whose queues; None for all.
        interval
            Least seconds between two counts of a queue; None for no counts but dead letters.
        """
        meter = None if interval is None else Meter()
        with self._watcher(workflow_ids, tells_dead=interval is None) as watcher:
            async for state in self._all_queues(workflow_ids):
                watcher.offer(state)
            while news := watcher.take_news():
                yield await self._told(news, meter)
            spoke_at = counted_at = time.monotonic()
            while True:
                due = spoke_at + _SIGN_OF_LIFE_SECONDS
                if interval is not None:
                    due = min(due, counted_at + interval)
                await watcher.wait_for_news(max(0.0, due - time.monotonic()))
                response = await self._told(watcher.take_news(), meter)
                now = time.monotonic()
                if meter is not None and interval is not None and now >= counted_at + interval:
                    response.queues.extend(await self._counted(watcher, meter, interval))
                    counted_at = now
                if response.queues or now >= spoke_at + _SIGN_OF_LIFE_SECONDS:
                    spoke_at = now
                    yield response

    @contextmanager
    def _watcher(
        self, workflow_ids: Set[WorkflowId] | None, *, tells_dead: bool
    ) -> Iterator[_Watcher]:
        watcher = _Watcher(workflow_ids, tells_dead=tells_dead)
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)

    async def _all_queues(self, workflow_ids: Set[WorkflowId] | None) -> AsyncIterator[QueueState]:
        chosen = None if workflow_ids is None else list(workflow_ids)
        after = QueueNo(0)
        while page := await self._register.page(chosen, after, _PAGE):
            for state in page:
                yield state
            after = page[-1].queue.number

    async def _told(
        self, states: Sequence[QueueState], meter: Meter | None
    ) -> pb.WatchQueueStatsResponse:
        """The states, with counts where they are wanted."""
        if meter is None or not states:
            return pb.WatchQueueStatsResponse(queues=[stats_message(state) for state in states])
        counts = await self._broker.counts([state.queue.number for state in states])
        meter.changes(counts.items())
        return pb.WatchQueueStatsResponse(
            queues=[
                stats_message(
                    state,
                    counts.get(state.queue.number),
                    n_consumers=self._consuming.n_consumers(state.queue.number),
                )
                for state in states
            ]
        )

    async def _counted(
        self, watcher: _Watcher, meter: Meter, interval: float
    ) -> list[pb.QueueStats]:
        """Counts that differ from what was told last."""
        if interval <= RecentCounts.LONGEST_INTERVAL:
            counts = await self._recent.read()
        else:
            counts = await self._broker.counts(list(watcher.queues))
        changes = meter.changes(
            (number, counts[number]) for number in counts.keys() & watcher.queues.keys()
        )
        return [
            stats_message(
                watcher.queues[number],
                reading.counts,
                n_consumers=self._consuming.n_consumers(number),
                publish_rate=reading.publish_rate,
                ack_rate=reading.ack_rate,
            )
            for number, reading in changes.items()
        ]

    async def stats(self, states: Sequence[QueueState]) -> list[pb.QueueStats]:
        """The counts of some queues now."""
        return list((await self._told(states, Meter())).queues)
