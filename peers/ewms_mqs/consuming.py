"""Consuming: one claim for all consumers of a queue, dealt out evenly; settling in batches.

A process has one `Counter` for each queue that somebody consumes here. It claims when there is
credit and an event may wait: after a signal, when credit comes, and in a slow poll that covers
lost signals. Nothing else waits for a timer. A consumer that goes keeps its leases or gives them
back, as it left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import structlog

from ewms_mqs.brokers import Broker
from ewms_mqs.coalescing import Lane
from ewms_mqs.consumer import Consumer
from ewms_mqs.errors import QueueNotFound
from ewms_mqs.model import DeliveredEvent, DeliveryId, Queue, QueueNo, Settled, Settlement
from ewms_mqs.register import Register
from ewms_postgres.backoff import Backoff
from ewms_postgres.errors import DatabaseError
from ewms_rpc.metrics import loop_failed

__all__ = ["Consuming", "Counter"]

_log = structlog.get_logger(__name__)

_CLAIMED_AT_ONCE = 500
_CLAIMED_BYTES = 4 * 1024 * 1024
_SETTLED_AT_ONCE = 10_000
_POLL_SECONDS = 5.0


class Counter:
    """Where the consumers of one queue are served."""

    def __init__(self, queue: Queue, broker: Broker, tasks: asyncio.TaskGroup) -> None:
        self.queue = queue
        self.consumers: list[Consumer] = []
        self._broker = broker
        self._holders: dict[DeliveryId, Consumer] = {}
        self._wake = asyncio.Event()
        self._tasks = tasks
        self._serving: asyncio.Task[None] | None = None
        self._settling: Lane[Settlement, Settled] = Lane(
            self._settle_all, _SETTLED_AT_ONCE, lambda: None
        )

    @property
    def is_hungry(self) -> bool:
        """Whether a consumer has credit left."""
        return any(consumer.room for consumer in self.consumers)

    def wake(self) -> None:
        """An event may wait, or a consumer has got credit."""
        self._wake.set()

    def end(self, error: Exception | None) -> None:
        """The queue is drained, or gone."""
        for consumer in self.consumers:
            consumer.end(error)

    async def _serve(self) -> None:
        """Claim and deal out for as long as there is a consumer."""
        backoff = Backoff()
        while self.consumers:
            await self._wake.wait()
            self._wake.clear()
            try:
                while await self._claim():
                    backoff.reset()
            except DatabaseError as error:
                loop_failed("claiming")
                _log.log(backoff.level, "claiming waits", mqid=self.queue.mqid, reason=str(error))
                self._wake.set()
                await backoff.wait()
            except Exception as error:
                # A fault of ours, with one queue: its consumers are told, the others go on.
                _log.exception("claiming failed", mqid=self.queue.mqid)
                self.end(error)

    async def _claim(self) -> bool:
        """Claim once; true when more may be had."""
        wanted = min(sum(consumer.room for consumer in self.consumers), _CLAIMED_AT_ONCE)
        if not wanted:
            return False
        claimed = await self._broker.claim(self.queue, wanted, _CLAIMED_BYTES)
        nobodys = self._deal(claimed.deliveries)
        if nobodys:
            await self._broker.give_back(self.queue, [d.delivery_id for d in nobodys])
        return claimed.has_more or len(claimed.deliveries) == wanted

    def _deal(self, deliveries: list[DeliveredEvent]) -> list[DeliveredEvent]:
        """Give each consumer its even share, as far as its room goes; return what is left."""
        dealt = 0
        while dealt < len(deliveries):
            hungry = [consumer for consumer in self.consumers if consumer.room]
            if not hungry:
                break
            share = max(1, (len(deliveries) - dealt) // len(hungry))
            for consumer in hungry:
                n = min(share, consumer.room, len(deliveries) - dealt)
                share_of_one = deliveries[dealt : dealt + n]
                consumer.deal(share_of_one)
                self._holders.update((d.delivery_id, consumer) for d in share_of_one)
                dealt += n
            # Who was first now is last next time.
            self.consumers.append(self.consumers.pop(0))
        return deliveries[dealt:]

    def join(self, consumer: Consumer) -> None:
        """Begin to deal to a consumer."""
        self.consumers.append(consumer)
        if self._serving is None or self._serving.done():
            self._serving = self._tasks.create_task(self._serve())

    def leave(self, consumer: Consumer) -> None:
        """Deal nothing more to a consumer; what it holds stays leased."""
        self.consumers.remove(consumer)
        for delivery_id in consumer.held:
            self._holders.pop(delivery_id, None)
        # The last one's loop ends, after it has given back what it may just be claiming.
        self._wake.set()

    def add_credit(self, consumer: Consumer, n: int) -> None:
        """A consumer takes so many deliveries more."""
        consumer.add_credit(n)
        self._wake.set()

    async def give_back(self, consumer: Consumer) -> None:
        """Let what a consumer holds wait again, unless it was extended elsewhere."""
        held = list(consumer.held)
        if held:
            await self._broker.give_back(self.queue, held)

    async def settle(self, settlement: Settlement) -> Settled:
        """Settle, together with what others settle at the same moment; give credit back."""
        outcome = await self._settling.submit(settlement, len(settlement))
        for delivery_id in settlement.acks:
            self._let_go(delivery_id)
        for refusal in settlement.refusals:
            self._let_go(refusal.delivery_id)
        if settlement.acks or settlement.refusals:
            self._wake.set()
        return outcome

    def _let_go(self, delivery_id: DeliveryId) -> None:
        holder = self._holders.pop(delivery_id, None)
        if holder is not None:
            holder.let_go(delivery_id)

    async def _settle_all(self, settlements: Sequence[Settlement]) -> Sequence[Settled]:
        outcomes: dict[int, Settled] = {}
        for is_elsewhere in (False, True):
            some = [(i, s) for i, s in enumerate(settlements) if s.is_elsewhere is is_elsewhere]
            if some:
                merged = Settlement(
                    [ack for _, s in some for ack in s.acks],
                    [refusal for _, s in some for refusal in s.refusals],
                    [extension for _, s in some for extension in s.extensions],
                    is_elsewhere,
                )
                result = await self._broker.settle(self.queue, merged)
                settled = set(result.settled)
                outcomes.update((i, _part_of(s, settled)) for i, s in some)
        return [outcomes[i] for i in range(len(settlements))]


def _part_of(settlement: Settlement, settled: set[DeliveryId]) -> Settled:
    ids = [
        *settlement.acks,
        *(refusal.delivery_id for refusal in settlement.refusals),
        *settlement.extensions,
    ]
    return Settled([i for i in ids if i in settled], [i for i in ids if i not in settled])


class Consuming:
    """All queues that are consumed or settled in this process.

    Parameters
    ----------
    tasks
        Where the serving of each queue runs.
    """

    def __init__(self, broker: Broker, register: Register, tasks: asyncio.TaskGroup) -> None:
        self._broker = broker
        self._register = register
        self._tasks = tasks
        self._counters: dict[QueueNo, tuple[Counter, int]] = {}
        self._suspected: set[QueueNo] = set()
        self._wake = asyncio.Event()

    def n_consumers(self, queue: QueueNo) -> int:
        """How many consumers a queue has here."""
        found = self._counters.get(queue)
        return len(found[0].consumers) if found else 0

    @contextmanager
    def counter(self, queue: Queue) -> Iterator[Counter]:
        """The queue's counter, which is there as long as somebody uses it."""
        counter, n_users = self._counters.get(queue.number) or (
            Counter(queue, self._broker, self._tasks),
            0,
        )
        self._counters[queue.number] = counter, n_users + 1
        try:
            yield counter
        finally:
            counter, n_users = self._counters.pop(queue.number)
            if n_users > 1:
                self._counters[queue.number] = counter, n_users - 1

    @contextmanager
    def consumer(self, counter: Counter, name: str) -> Iterator[Consumer]:
        """A consumer at a counter, for as long as the block runs."""
        consumer = Consumer(name)
        counter.join(consumer)
        try:
            yield consumer
        finally:
            counter.leave(consumer)

    def heard_ready(self, number: QueueNo | None) -> None:
        """An event waits in the queue, or in any."""
        if number is None:
            for counter, _ in self._counters.values():
                counter.wake()
        elif (found := self._counters.get(number)) is not None:
            found[0].wake()

    def heard_changed(self, number: QueueNo | None) -> None:
        """The queue may be drained or gone, or any may."""
        if number is None:
            self._suspected.update(self._counters)
        elif number in self._counters:
            self._suspected.add(number)
        if self._suspected:
            self._wake.set()

    async def run(self) -> None:
        """End consumers of queues that are drained or gone, and poll slowly, until cancelled."""
        backoff = Backoff()
        while True:
            try:
                async with asyncio.timeout(_POLL_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                self.heard_changed(None)
                await self._poll(backoff)
            self._wake.clear()
            await self._end_finished(backoff)

    async def _poll(self, backoff: Backoff) -> None:
        hungry = [number for number, (c, _) in self._counters.items() if c.is_hungry]
        if not hungry:
            return
        try:
            for number in await self._broker.ready_queues(hungry):
                self.heard_ready(number)
            backoff.reset()
        except DatabaseError as error:
            loop_failed("polling")
            _log.log(backoff.level, "polling waits for the database", reason=str(error))
            await backoff.wait()

    async def _end_finished(self, backoff: Backoff) -> None:
        suspected, self._suspected = self._suspected, set()
        if not suspected:
            return
        try:
            states = await self._register.states(list(suspected))
        except DatabaseError as error:
            loop_failed("endings")
            _log.log(backoff.level, "endings wait for the database", reason=str(error))
            self._suspected |= suspected
            await backoff.wait()
            return
        backoff.reset()
        for number in suspected:
            found = self._counters.get(number)
            if found is None:
                continue
            state = states.get(number)
            if state is None:
                queue = found[0].queue
                found[0].end(QueueNotFound(queue.mqid, queue))
            elif state.is_drained:
                found[0].end(None)
