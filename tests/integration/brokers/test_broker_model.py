"""The broker against a model of a page: every history that hypothesis thinks of must fit it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import pytest
from broker_harness import MAX_DELIVERIES, PostgresHarness, postgres_harness
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ewms.mqs.v1.event_service_pb2 import Event
from ewms_mqs.errors import QueueClosed, QueueDrained
from ewms_mqs.model import Counts, DeliveryId, Refusal, Settlement

_T = TypeVar("_T")

SETTINGS = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@dataclass
class Model:
    """What a queue must hold: events by their id, in the order in which they are to come."""

    ready: list[str] = field(default_factory=list)
    leased: dict[str, DeliveryId] = field(default_factory=dict)
    dead: set[str] = field(default_factory=set)
    done: set[str] = field(default_factory=set)
    tries: dict[str, int] = field(default_factory=dict)
    void: list[tuple[str, DeliveryId]] = field(default_factory=list)
    is_closed: bool = False
    is_drained: bool = False

    def lapse(self, event_id: str) -> None:
        """A delivery has failed: again, at the end, or never."""
        self.void.append((event_id, self.leased.pop(event_id)))
        if self.tries[event_id] >= MAX_DELIVERIES:
            self.dead.add(event_id)
        else:
            self.ready.append(event_id)


class BrokerMachine(RuleBasedStateMachine):
    """One queue, one history."""

    harness: ClassVar[PostgresHarness]
    runner: ClassVar[asyncio.Runner]

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.n_published = 0
        self.broker = self.harness.broker

    def run_now(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        return self.runner.run(coroutine)

    @initialize()
    def grant(self) -> None:
        self.queue = self.run_now(self.harness.new_queue())

    @rule(n=st.integers(1, 4), repeat=st.booleans())
    def publish(self, n: int, repeat: bool) -> None:
        fresh = [f"e{self.n_published + i}" for i in range(n)]
        known = [f"e{self.n_published - 1}"] if repeat and self.n_published else []
        batch = [Event(event_id=i, payload=i.encode()) for i in (*known, *fresh)]
        if self.model.is_closed:
            with pytest.raises(QueueClosed):
                self.run_now(self.broker.publish(self.queue, [batch]))
            return
        assert self.run_now(self.broker.publish(self.queue, [batch])) == [n]
        self.n_published += n
        self.model.ready += fresh

    @rule(limit=st.integers(1, 5))
    def claim(self, limit: int) -> None:
        claimed = self.run_now(self.broker.claim(self.queue, limit, 1 << 30)).deliveries
        expected, self.model.ready = self.model.ready[:limit], self.model.ready[limit:]
        assert [delivery.event.event_id for delivery in claimed] == expected
        for delivery in claimed:
            event_id = delivery.event.event_id
            self.model.tries[event_id] = self.model.tries.get(event_id, 0) + 1
            assert delivery.n_deliveries == self.model.tries[event_id]
            self.model.leased[event_id] = delivery.delivery_id

    @precondition(lambda self: self.model.leased)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        event_id = data.draw(st.sampled_from(sorted(self.model.leased)))
        delivery_id = self.model.leased.pop(event_id)
        outcome = self.run_now(self.broker.settle(self.queue, Settlement([delivery_id])))
        assert outcome.settled == [delivery_id]
        self.model.done.add(event_id)

    @precondition(lambda self: self.model.leased)
    @rule(data=st.data(), requeue=st.booleans())
    def refuse(self, data: st.DataObject, requeue: bool) -> None:
        event_id = data.draw(st.sampled_from(sorted(self.model.leased)))
        refusal = Refusal(self.model.leased[event_id], requeue, "no")
        self.run_now(self.broker.settle(self.queue, Settlement(refusals=[refusal])))
        if requeue:
            self.model.lapse(event_id)
        else:
            self.model.void.append((event_id, self.model.leased.pop(event_id)))
            self.model.dead.add(event_id)

    @precondition(lambda self: len(self.model.leased) == 1)
    @rule()
    def let_leases_run_out(self) -> None:
        (event_id,) = self.model.leased
        self.run_now(self.harness.let_leases_run_out(self.queue))
        self.model.lapse(event_id)

    @precondition(lambda self: self.model.void)
    @rule(data=st.data())
    def settle_too_late(self, data: st.DataObject) -> None:
        event_id, delivery_id = data.draw(st.sampled_from(self.model.void))
        extension = Settlement(extensions=[delivery_id])
        assert self.run_now(self.broker.settle(self.queue, extension)).settled == []
        outcome = self.run_now(self.broker.settle(self.queue, Settlement([delivery_id])))
        assert bool(outcome.settled) == (event_id in self.model.done)

    @rule()
    def put_dead_letters_back(self) -> None:
        if self.model.is_drained:
            with pytest.raises(QueueDrained):
                self.run_now(self.broker.requeue_dead_letters(self.queue, None))
            return
        page = self.run_now(self.broker.list_dead_letters(self.queue, 1000, 0))
        ids = [letter.event.event_id for letter in page.dead_letters]
        assert set(ids) == self.model.dead
        assert self.run_now(self.broker.requeue_dead_letters(self.queue, None)) == len(ids)
        self.model.dead.clear()
        self.model.ready += ids
        self.model.tries.update(dict.fromkeys(ids, 0))

    @rule()
    def close(self) -> None:
        self.run_now(self.broker.close_queues([self.queue.number]))
        self.model.is_closed = True

    @rule()
    def drain(self) -> None:
        drained = self.run_now(self.broker.drain_queues([self.queue.number]))
        is_empty = not self.model.ready and not self.model.leased
        is_new = self.model.is_closed and is_empty and not self.model.is_drained
        assert drained == ([self.queue.number] if is_new else [])
        self.model.is_drained |= is_new

    @invariant()
    def counts_are_those_of_the_model(self) -> None:
        if not hasattr(self, "queue"):
            return
        counts = self.run_now(self.broker.counts([self.queue.number]))[self.queue.number]
        model = self.model
        assert counts == Counts(
            self.n_published, len(model.ready), len(model.leased), len(model.done), len(model.dead)
        )
        assert len({*model.ready, *model.leased, *model.done, *model.dead}) == self.n_published


def test_no_history_leads_the_broker_away_from_its_model(broker_database: str) -> None:
    with asyncio.Runner() as runner:
        context = postgres_harness(broker_database)
        harness = runner.run(context.__aenter__())
        machine = type("Machine", (BrokerMachine,), {"harness": harness, "runner": runner})
        try:
            run_state_machine_as_test(machine, settings=SETTINGS)
        finally:
            runner.run(context.__aexit__(None, None, None))
