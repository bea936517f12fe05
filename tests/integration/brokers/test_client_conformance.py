"""What a client sees of a broker, whichever it is: asked through the MQS and the client library.

What not every broker can is asked of its capabilities.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
from mqs_under_test import MAX_DELIVERIES, MqsUnderTest

from ewms_client.consumer import Consumer
from ewms_client.errors import FailedPrecondition, RpcError
from ewms_client.events import Event
from ewms_client.publishing import publish_events


async def test_events_arrive_in_order_with_headers_and_ids(mqs: MqsUnderTest) -> None:
    sent = [
        Event(b"text", {"filename": "a.in"}, "1"),
        Event(b"\xff\x00binary", {}, "2"),
        Event(b"", {"empty": ""}, "3"),
        Event("päckchen\x00".encode(), {}, "4"),
    ]
    assert await mqs.publish("in", sent) == 4
    got = await mqs.received("in", 4)
    assert [Event(d.payload, dict(d.headers), d.event_id) for d in got] == sent
    assert {d.n_deliveries for d in got} == {1}


@pytest.mark.parametrize("credit", [32, 100])
async def test_a_thousand_events_are_delivered_and_counted_exactly(
    mqs: MqsUnderTest, credit: int
) -> None:
    await mqs.publish("in", [str(number).encode() for number in range(1000)])
    await mqs.until_stats("in", depth=1000, published=1000)
    numbers = []
    async with mqs.consume("in", 1000, credit) as deliveries:
        async for delivery in deliveries:
            numbers.append(int(delivery.payload))
            assert delivery.n_deliveries == 1
            # Not awaited: as fast as they can be said.
            delivery.ack()
    assert sorted(numbers) == list(range(1000))
    assert numbers == sorted(numbers) or credit > 32
    stats = await mqs.until_stats("in", depth=0, in_flight=0, done=1000)
    assert (stats.published, stats.dead) == (1000, 0)


async def test_consumers_share_a_queue_and_none_gets_what_another_has(mqs: MqsUnderTest) -> None:
    await mqs.publish("in", [str(number).encode() for number in range(300)])
    shares = await asyncio.gather(*(mqs.received("in", 100) for _ in range(3)))
    assert sorted(int(d.payload) for share in shares for d in share) == list(range(300))
    await mqs.until_stats("in", depth=0, in_flight=0, done=300)


async def test_what_is_not_wanted_any_more_is_left_in_the_queue_untouched(
    mqs: MqsUnderTest,
) -> None:
    await mqs.publish("in", [str(number).encode() for number in range(20)])
    got = await mqs.received("in", 7) + await mqs.received("in", 13)
    assert sorted(int(d.payload) for d in got) == list(range(20))
    assert {d.n_deliveries for d in got} == {1}


async def test_what_a_consumer_had_that_was_killed_is_delivered_again(mqs: MqsUnderTest) -> None:
    await mqs.publish("in", [Event(b"one", {"k": "v"}, "1"), Event(b"two", {}, "2")])
    profile = await mqs.profile("in")
    victim = await asyncio.create_subprocess_exec(
        sys.executable,
        Path(__file__).with_name("doomed_consumer.py"),
        profile.SerializeToString().hex(),
        stdout=asyncio.subprocess.PIPE,
    )
    assert victim.stdout is not None
    assert json.loads(await victim.stdout.readline()) == ["one", "two"]
    await mqs.until_stats("in", depth=0, in_flight=2)
    victim.kill()
    await victim.wait()
    got = await mqs.received("in", 2)
    assert sorted((d.event_id, d.payload) for d in got) == [("1", b"one"), ("2", b"two")]
    assert {d.n_deliveries for d in got} <= {1, 2}
    await mqs.until_stats("in", depth=0, in_flight=0, done=2, published=2)


async def test_a_refused_event_comes_again_until_it_is_dead_and_then_can_be_put_back(
    mqs: MqsUnderTest,
) -> None:
    await mqs.publish("in", [Event(b"bad", {"k": "v"}, "1")])
    async with mqs.consume("in") as deliveries:
        for attempt in range(1, MAX_DELIVERIES + 1):
            delivery = await anext(deliveries)
            assert (delivery.payload, delivery.n_deliveries) == (b"bad", attempt)
            await delivery.nack(reason="broken")
        await mqs.until_stats("in", dead=1, depth=0, in_flight=0)
    (letter,) = await mqs.dead_letters("in")
    assert (letter.event_id, letter.n_deliveries) == ("1", MAX_DELIVERIES)
    assert letter.reason == ("broken" if mqs.capabilities.keeps_reasons else "delivered too often")
    assert await mqs.requeue("in", letter.dead_letter_id) == 1
    (again,) = await mqs.received("in", 1)
    assert (again.payload, again.headers, again.n_deliveries) == (b"bad", {"k": "v"}, 1)
    stats = await mqs.until_stats("in", dead=0, depth=0, in_flight=0, done=1)
    assert stats.published == 1


async def test_an_event_that_is_refused_for_good_is_dead_at_once(mqs: MqsUnderTest) -> None:
    await mqs.publish("in", [Event(b"bad", {}, "1"), Event(b"worse", {}, "2")])
    async with mqs.consume("in", 2) as deliveries:
        async for delivery in deliveries:
            await delivery.nack(reason="unreadable", requeue=False)
    await mqs.until_stats("in", dead=2, depth=0, in_flight=0)
    letters = await mqs.dead_letters("in")
    assert {letter.n_deliveries for letter in letters} == {1}
    assert await mqs.requeue("in") == 2
    assert sorted(d.payload for d in await mqs.received("in", 2)) == [b"bad", b"worse"]


async def test_a_closed_queue_gives_what_it_has_and_then_ends_its_consumers(
    mqs: MqsUnderTest,
) -> None:
    await mqs.publish("in", [b"a", b"b"])
    got = []
    async with mqs.consume("in") as deliveries:
        await mqs.close("in")
        async for delivery in deliveries:
            got.append(delivery.payload)
            await delivery.ack()
        assert deliveries.is_drained
    assert got == [b"a", b"b"]
    with pytest.raises(FailedPrecondition, match="closed"):
        await mqs.publish("in", [b"late"])
    stats = await mqs.stats("in")
    assert (stats.published, stats.done, stats.depth) == (2, 2, 0)


async def test_a_queue_with_an_unsettled_delivery_is_not_drained(mqs: MqsUnderTest) -> None:
    await mqs.publish("in", [b"a"])
    async with mqs.consume("in") as deliveries:
        delivery = await anext(deliveries)
        await mqs.close("in")
        await mqs.until_stats("in", in_flight=1)
        await mqs.close("out")
        # The other queue, empty from the start, is quiet for long enough meanwhile.
        await mqs.until_stats("out", is_drained=True)
        assert not (await mqs.stats("in")).is_drained
        await delivery.ack()
    await mqs.until_stats("in", is_drained=True)


async def test_a_queue_that_is_released_is_there_until_it_is_empty(mqs: MqsUnderTest) -> None:
    await mqs.publish("in", [b"a"])
    await mqs.until_stats("in", depth=1)
    await mqs.release()
    assert [d.payload for d in await mqs.received("in", 1)] == [b"a"]
    await mqs.until_gone()


async def test_work_goes_on_when_the_mqs_is_started_again(mqs: MqsUnderTest) -> None:
    async with mqs.consume("in", 2) as deliveries:
        await mqs.publish("in", [b"1"])
        await (await anext(deliveries)).ack()
        await mqs.until_stats("in", done=1)
        await mqs.stop()
        await mqs.start()
        await mqs.publish("in", [b"2"])
        delivery = await anext(deliveries)
        assert delivery.payload == b"2"
        await delivery.ack()
    await mqs.until_stats("in", depth=0, in_flight=0, done=2, published=2)


async def test_a_token_is_good_for_its_own_queue_alone(mqs: MqsUnderTest) -> None:
    await mqs.grant("theirs", workflow="WF-2")
    if mqs.capabilities.serves_events:
        # Another broker looks at the exchange alone: there, a queue's name is its secret.
        intruder = await mqs.access("in", mqs.mqids["theirs"])
        with pytest.raises(RpcError):
            await publish_events(intruder, [b"x"], patience=1)
    with pytest.raises(RpcError):
        async with Consumer(
            lambda: mqs.access("in", mqs.mqids["theirs"]),
            count=1,
            credit=1,
            name="intruder",
            patience=1,
        ) as deliveries:
            await anext(deliveries)
    assert (await mqs.stats("theirs", "WF-2")).published == 0
