"""What every broker must do; what not every broker can is asked of its capabilities first."""

from __future__ import annotations

import asyncio

import pytest
from broker_harness import MAX_DELIVERIES, Harness

from ewms.mqs.v1.event_service_pb2 import Event
from ewms_mqs.brokers import Capabilities
from ewms_mqs.errors import (
    DeadLettersNotFound,
    QueueClosed,
    QueueDrained,
    QueueNotFound,
    RequestTaken,
)
from ewms_mqs.model import (
    Counts,
    DeadLetter,
    DeliveredEvent,
    DeliveryId,
    Queue,
    Refusal,
    Settlement,
)

MANY_BYTES = 1 << 30


@pytest.fixture
async def queue(harness: Harness) -> Queue:
    return await harness.new_queue()


def events(*payloads: str) -> list[Event]:
    return [Event(payload=payload.encode()) for payload in payloads]


def payloads(deliveries: list[DeliveredEvent]) -> list[str]:
    return [delivery.event.payload.decode() for delivery in deliveries]


async def claim(harness: Harness, queue: Queue, limit: int = 100) -> list[DeliveredEvent]:
    return (await harness.broker.claim(queue, limit, MANY_BYTES)).deliveries


def needs(harness: Harness, capability: str) -> None:
    capabilities: Capabilities = harness.broker.capabilities
    if not getattr(capabilities, capability):
        pytest.skip(f"{harness.broker.type} cannot: {capability}")


async def test_events_come_out_in_the_order_in_which_one_publisher_sent_them(
    harness: Harness, queue: Queue
) -> None:
    await harness.broker.publish(queue, [events("1", "2"), events("3")])
    await harness.broker.publish(queue, [events("4")])
    assert payloads(await claim(harness, queue)) == ["1", "2", "3", "4"]


async def test_headers_and_id_arrive_as_they_were_sent(harness: Harness, queue: Queue) -> None:
    sent = Event(event_id="mine", payload=b"\x00\xff", headers={"name": "päckchen.in"})
    await harness.broker.publish(queue, [[sent]])
    (delivery,) = await claim(harness, queue)
    assert delivery.event == sent


async def test_an_event_without_an_id_is_given_one_that_stays(
    harness: Harness, queue: Queue
) -> None:
    await harness.broker.publish(queue, [events("a", "b")])
    first, second = await claim(harness, queue)
    assert first.event.event_id
    assert first.event.event_id != second.event.event_id
    await harness.broker.give_back(queue, [first.delivery_id])
    (again,) = await claim(harness, queue)
    assert again.event.event_id == first.event.event_id


async def test_what_was_published_and_leased_outlives_a_restart(
    harness: Harness, queue: Queue
) -> None:
    await harness.broker.publish(queue, [events("a", "b")])
    (leased,) = await claim(harness, queue, 1)
    await harness.restart()
    assert payloads(await claim(harness, queue)) == ["b"]
    outcome = await harness.broker.settle(queue, Settlement(acks=[leased.delivery_id]))
    assert outcome.settled == [leased.delivery_id]


async def test_two_claims_never_get_the_same_event(harness: Harness, queue: Queue) -> None:
    await harness.broker.publish(queue, [events(*map(str, range(200)))])
    claims = await asyncio.gather(*(claim(harness, queue, 10) for _ in range(20)))
    got = [payload for deliveries in claims for payload in payloads(deliveries)]
    assert len(got) == len(set(got))


async def test_a_claim_takes_no_more_bytes_than_fit_but_at_least_one_event(
    harness: Harness, queue: Queue
) -> None:
    await harness.broker.publish(queue, [events("x" * 5_000, "y" * 5_000, "z" * 5_000)])
    first = await harness.broker.claim(queue, 10, 11_000)
    assert len(first.deliveries) == 2
    assert first.has_more
    second = await harness.broker.claim(queue, 10, 10)
    assert len(second.deliveries) == 1
    assert not second.has_more


async def test_an_acknowledged_event_is_gone_and_a_repeat_is_harmless(
    harness: Harness, queue: Queue
) -> None:
    await harness.broker.publish(queue, [events("a")])
    (delivery,) = await claim(harness, queue)
    for _ in range(2):
        outcome = await harness.broker.settle(queue, Settlement(acks=[delivery.delivery_id]))
        assert (outcome.settled, outcome.lost) == ([delivery.delivery_id], [])
    await harness.let_leases_run_out(queue)
    assert await claim(harness, queue) == []


async def test_a_lease_that_runs_out_delivers_again_and_voids_the_old_delivery(
    harness: Harness, queue: Queue
) -> None:
    needs(harness, "leases")
    await harness.broker.publish(queue, [events("a")])
    (old,) = await claim(harness, queue)
    await harness.let_leases_run_out(queue)
    assert harness.ready[-1] == queue.number
    (new,) = await claim(harness, queue)
    assert (old.n_deliveries, new.n_deliveries) == (1, 2)
    late = Settlement([old.delivery_id], [Refusal(old.delivery_id, True, "")], [old.delivery_id])
    outcome = await harness.broker.settle(queue, late)
    assert outcome.settled == []
    assert outcome.lost == [old.delivery_id] * 3
    outcome = await harness.broker.settle(queue, Settlement(acks=[new.delivery_id]))
    assert outcome.settled == [new.delivery_id]


async def test_an_extended_lease_begins_anew(harness: Harness, queue: Queue) -> None:
    needs(harness, "extends")
    await harness.broker.publish(queue, [events("a")])
    (delivery,) = await claim(harness, queue)
    outcome = await harness.broker.settle(queue, Settlement(extensions=[delivery.delivery_id]))
    assert outcome.settled == [delivery.delivery_id]
    outcome = await harness.broker.settle(queue, Settlement(acks=[delivery.delivery_id]))
    assert outcome.settled == [delivery.delivery_id]


async def test_a_refused_event_comes_again_behind_the_others_until_it_is_dead(
    harness: Harness, queue: Queue
) -> None:
    await harness.broker.publish(queue, [events("bad", "good")])
    for attempt in range(1, MAX_DELIVERIES + 1):
        deliveries = await claim(harness, queue)
        bad = next(d for d in deliveries if d.event.payload == b"bad")
        assert bad.n_deliveries == attempt
        refusal = Refusal(bad.delivery_id, True, f"broken {attempt}")
        await harness.broker.settle(queue, Settlement(refusals=[refusal]))
    (dead,) = (await harness.broker.list_dead_letters(queue, 10, 0)).dead_letters
    assert (dead.event.payload, dead.n_deliveries) == (b"bad", MAX_DELIVERIES)
    assert dead.reason == f"broken {MAX_DELIVERIES}"


async def test_an_event_refused_without_requeueing_is_dead_at_once(
    harness: Harness, queue: Queue
) -> None:
    await harness.broker.publish(queue, [events("bad")])
    (delivery,) = await claim(harness, queue)
    refusal = Refusal(delivery.delivery_id, False, "unreadable")
    outcome = await harness.broker.settle(queue, Settlement(refusals=[refusal]))
    assert outcome.settled == [delivery.delivery_id]
    (dead,) = (await harness.broker.list_dead_letters(queue, 10, 0)).dead_letters
    assert (dead.reason, dead.n_deliveries) == ("unreadable", 1)


async def test_a_lease_that_runs_out_too_often_leads_to_the_dead_letters(
    harness: Harness, queue: Queue
) -> None:
    needs(harness, "leases")
    await harness.broker.publish(queue, [events("killer")])
    for _ in range(MAX_DELIVERIES):
        assert len(await claim(harness, queue)) == 1
        await harness.let_leases_run_out(queue)
    assert await claim(harness, queue) == []
    (dead,) = (await harness.broker.list_dead_letters(queue, 10, 0)).dead_letters
    assert dead.reason == "its lease ran out"


async def test_dead_letters_are_listed_in_pages_and_put_back_with_a_fresh_count(
    harness: Harness, queue: Queue
) -> None:
    await harness.broker.publish(queue, [events("a", "b", "c")])
    deliveries = await claim(harness, queue)
    refusals = [Refusal(d.delivery_id, False, "") for d in deliveries]
    await harness.broker.settle(queue, Settlement(refusals=refusals))
    first = await harness.broker.list_dead_letters(queue, 2, 0)
    assert first.next_after is not None
    second = await harness.broker.list_dead_letters(queue, 2, first.next_after)
    assert second.next_after is None
    letters = [*first.dead_letters, *second.dead_letters]
    assert [letter.event.payload for letter in letters] == [b"a", b"b", b"c"]
    one = [letters[1].dead_letter_id]
    assert await harness.broker.requeue_dead_letters(queue, one) == 1
    (again,) = await claim(harness, queue)
    assert (again.event.payload, again.n_deliveries) == (b"b", 1)
    assert await harness.broker.requeue_dead_letters(queue, None) == 2
    assert payloads(await claim(harness, queue)) == ["a", "c"]


async def a_dead_letter(harness: Harness, queue: Queue, event: Event) -> DeadLetter:
    await harness.broker.publish(queue, [[event]])
    (delivery,) = await claim(harness, queue)
    refusal = Refusal(delivery.delivery_id, False, "unreadable")
    await harness.broker.settle(queue, Settlement(refusals=[refusal]))
    return (await harness.broker.list_dead_letters(queue, 1000, 0)).dead_letters[-1]


async def test_headers_survive_the_dead_letters_and_the_way_back(
    harness: Harness, queue: Queue
) -> None:
    sent = Event(event_id="mine", payload=b"\x00", headers={"filename": "päckchen.in"})
    letter = await a_dead_letter(harness, queue, sent)
    assert letter.event == sent
    await harness.broker.requeue_dead_letters(queue, [letter.dead_letter_id])
    (again,) = await claim(harness, queue)
    assert again.event == sent


@pytest.mark.parametrize("unknown", ["999999999999", "nonsense", "-1", "9" * 30, "²"])
async def test_named_dead_letters_are_put_back_all_or_none(
    harness: Harness, queue: Queue, unknown: str
) -> None:
    letter = await a_dead_letter(harness, queue, Event(payload=b"bad"))
    with pytest.raises(DeadLettersNotFound, match=unknown):
        await harness.broker.requeue_dead_letters(queue, [letter.dead_letter_id, unknown])
    assert await claim(harness, queue) == []
    assert (await harness.broker.list_dead_letters(queue, 10, 0)).dead_letters == [letter]


async def test_a_dead_letter_of_another_queue_is_unknown(harness: Harness, queue: Queue) -> None:
    letter = await a_dead_letter(harness, await harness.new_queue(), Event(payload=b"bad"))
    with pytest.raises(DeadLettersNotFound):
        await harness.broker.requeue_dead_letters(queue, [letter.dead_letter_id])


async def test_a_request_that_is_repeated_puts_named_dead_letters_back_once(
    harness: Harness, queue: Queue
) -> None:
    letters = [await a_dead_letter(harness, queue, event) for event in events("a", "b")]
    ids = [letter.dead_letter_id for letter in letters]
    assert await harness.broker.requeue_dead_letters(queue, ids, "once") == 2
    assert await harness.broker.requeue_dead_letters(queue, ids[::-1], "once") == 2
    assert payloads(await claim(harness, queue)) == ["a", "b"]
    with pytest.raises(RequestTaken):
        await harness.broker.requeue_dead_letters(queue, ids[:1], "once")
    with pytest.raises(DeadLettersNotFound):
        await harness.broker.requeue_dead_letters(queue, ids, "twice")


async def test_of_two_who_put_the_same_dead_letters_back_one_is_told_that_they_are_gone(
    harness: Harness, queue: Queue
) -> None:
    letters = [await a_dead_letter(harness, queue, event) for event in events("a", "b")]
    ids = [letter.dead_letter_id for letter in letters]
    results = await asyncio.gather(
        *(harness.broker.requeue_dead_letters(queue, ids) for _ in range(2)),
        return_exceptions=True,
    )
    assert [r for r in results if isinstance(r, int)] == [2]
    assert sum(isinstance(r, DeadLettersNotFound) for r in results) == 1


async def test_a_page_of_large_dead_letters_ends_before_it_is_too_large_for_a_message(
    harness: Harness, queue: Queue
) -> None:
    for number in range(3):
        await a_dead_letter(harness, queue, Event(payload=bytes([number]) * (5 << 20)))
    first = await harness.broker.list_dead_letters(queue, 10, 0)
    assert [letter.event.payload[0] for letter in first.dead_letters] == [0, 1]
    assert first.next_after is not None
    second = await harness.broker.list_dead_letters(queue, 10, first.next_after)
    assert [letter.event.payload[0] for letter in second.dead_letters] == [2]
    assert second.next_after is None


async def test_what_is_given_back_waits_in_its_old_place_and_does_not_count(
    harness: Harness, queue: Queue
) -> None:
    await harness.broker.publish(queue, [events("a", "b", "c")])
    first, second = await claim(harness, queue, 2)
    await harness.broker.give_back(queue, [second.delivery_id, first.delivery_id])
    again = await claim(harness, queue)
    assert payloads(again) == ["a", "b", "c"]
    assert {delivery.n_deliveries for delivery in again} == {1}


async def test_what_was_extended_elsewhere_is_not_given_back(
    harness: Harness, queue: Queue
) -> None:
    needs(harness, "settles_elsewhere")
    await harness.broker.publish(queue, [events("a", "b")])
    kept, returned = await claim(harness, queue)
    extension = Settlement(extensions=[kept.delivery_id], is_elsewhere=True)
    await harness.broker.settle(queue, extension)
    await harness.broker.give_back(queue, [kept.delivery_id, returned.delivery_id])
    assert payloads(await claim(harness, queue)) == ["b"]
    outcome = await harness.broker.settle(queue, Settlement(acks=[kept.delivery_id]))
    assert outcome.settled == [kept.delivery_id]


async def test_a_repeat_of_an_id_is_dropped_though_the_first_be_gone(
    harness: Harness, queue: Queue
) -> None:
    needs(harness, "drops_repeats")
    one = Event(event_id="1", payload=b"first")
    repeat = Event(event_id="1", payload=b"second")
    other = Event(event_id="2", payload=b"other")
    assert await harness.broker.publish(queue, [[one, repeat], [repeat, other]]) == [1, 1]
    deliveries = await claim(harness, queue)
    assert payloads(deliveries) == ["first", "other"]
    await harness.broker.settle(queue, Settlement(acks=[d.delivery_id for d in deliveries]))
    assert await harness.broker.publish(queue, [[repeat], events("anonymous")]) == [0, 1]
    assert payloads(await claim(harness, queue)) == ["anonymous"]


async def test_an_id_is_remembered_for_each_queue_by_itself(harness: Harness, queue: Queue) -> None:
    needs(harness, "drops_repeats")
    other = await harness.new_queue()
    event = Event(event_id="1", payload=b"x")
    assert await harness.broker.publish(queue, [[event]]) == [1]
    assert await harness.broker.publish(other, [[event]]) == [1]


async def test_publishers_of_the_same_ids_in_other_orders_do_not_wait_in_a_circle(
    harness: Harness, queue: Queue
) -> None:
    needs(harness, "drops_repeats")
    batch = [Event(event_id=str(number), payload=b"x") for number in range(100)]
    counts = await asyncio.gather(
        *(harness.broker.publish(queue, [batch[::step]]) for step in (1, -1) * 4)
    )
    assert sum(n for (n,) in counts) == 100


async def test_a_closed_queue_takes_no_event_and_delivers_what_it_has(
    harness: Harness, queue: Queue
) -> None:
    needs(harness, "fences_publishers")
    await harness.broker.publish(queue, [events("a")])
    assert await harness.broker.close_queues([queue.number]) == [queue.number]
    assert await harness.broker.close_queues([queue.number]) == []
    with pytest.raises(QueueClosed):
        await harness.broker.publish(queue, [events("b")])
    assert payloads(await claim(harness, queue)) == ["a"]


async def test_a_queue_is_drained_once_closed_empty_and_settled_and_that_is_final(
    harness: Harness, queue: Queue
) -> None:
    broker = harness.broker
    await broker.publish(queue, [events("a", "b")])
    first, second = await claim(harness, queue)
    assert await broker.drain_queues([queue.number]) == []
    await broker.close_queues([queue.number])
    assert await broker.drain_queues([queue.number]) == []
    await broker.settle(queue, Settlement(acks=[first.delivery_id]))
    assert await broker.drain_queues([queue.number]) == []
    await broker.settle(queue, Settlement(refusals=[Refusal(second.delivery_id, False, "")]))
    assert harness.suspected[-1] == queue.number
    assert await broker.drain_queues([queue.number]) == [queue.number]
    assert await broker.drain_queues([queue.number]) == []
    with pytest.raises(QueueDrained):
        await broker.requeue_dead_letters(queue, None)


async def test_a_dead_letter_of_a_closed_queue_that_is_not_drained_may_be_put_back(
    harness: Harness, queue: Queue
) -> None:
    await harness.broker.publish(queue, [events("a", "b")])
    deliveries = await claim(harness, queue)
    refusal = Refusal(deliveries[0].delivery_id, False, "")
    await harness.broker.settle(queue, Settlement(refusals=[refusal]))
    await harness.broker.close_queues([queue.number])
    assert await harness.broker.requeue_dead_letters(queue, None) == 1
    assert payloads(await claim(harness, queue)) == ["a"]


async def test_counts_follow_every_step(harness: Harness, queue: Queue) -> None:
    async def counts() -> Counts:
        return (await harness.broker.counts([queue.number]))[queue.number]

    await harness.broker.publish(queue, [events("a", "b", "c", "d")])
    assert await counts() == Counts(published=4, depth=4)
    a, b, c = await claim(harness, queue, 3)
    assert await counts() == Counts(published=4, depth=1, in_flight=3)
    await harness.broker.settle(
        queue, Settlement([a.delivery_id], [Refusal(b.delivery_id, False, "")])
    )
    assert await counts() == Counts(published=4, depth=1, in_flight=1, done=1, dead=1)
    await harness.broker.give_back(queue, [c.delivery_id])
    await harness.broker.requeue_dead_letters(queue, None)
    assert await counts() == Counts(published=4, depth=3, done=1)


async def test_text_that_is_no_delivery_id_is_lost_and_harms_nothing(
    harness: Harness, queue: Queue
) -> None:
    await harness.broker.publish(queue, [events("a")])
    (delivery,) = await claim(harness, queue)
    nonsense = [DeliveryId(text) for text in ("", "x", "1", "1.1.1", "ff.zz", "-1.1", "9" * 60)]
    outcome = await harness.broker.settle(
        queue, Settlement(acks=[*nonsense, delivery.delivery_id], extensions=nonsense)
    )
    assert outcome.settled == [delivery.delivery_id]
    assert outcome.lost == nonsense * 2


async def test_a_delivery_cannot_be_settled_through_another_queue(
    harness: Harness, queue: Queue
) -> None:
    other = await harness.new_queue()
    await harness.broker.publish(queue, [events("a")])
    (delivery,) = await claim(harness, queue)
    await harness.broker.settle(other, Settlement(acks=[delivery.delivery_id]))
    assert (await harness.broker.counts([queue.number]))[queue.number].in_flight == 1


async def test_a_queue_that_never_was_takes_no_event(harness: Harness, queue: Queue) -> None:
    absent = Queue(type(queue.number)(1_000_000), queue.mqid, queue.workflow_id, queue.alias, True)
    with pytest.raises(QueueNotFound):
        await harness.broker.publish(absent, [events("a")])
