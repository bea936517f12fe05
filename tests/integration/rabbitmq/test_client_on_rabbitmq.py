"""Our client with a real RabbitMQ: events, dead letters, counts, draining, restarts."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from rabbit_mqs import WORKFLOW, RabbitMqs
from rabbitmq_node import RabbitNode

from ewms.mqs.v1 import event_service_pb2 as ev
from ewms.mqs.v1 import mqs_service_pb2 as pb
from ewms_client.delivery import Delivery
from ewms_client.errors import FailedPrecondition
from ewms_client.events import Event


async def received(mqs: RabbitMqs, alias: str, count: int) -> list[Delivery]:
    """So many deliveries, each acknowledged."""
    got = []
    async with mqs.consume(alias, count) as deliveries:
        async for delivery in deliveries:
            await delivery.ack()
            got.append(delivery)
    return got


async def test_events_arrive_in_order_with_headers_and_ids(mqs: RabbitMqs) -> None:
    sent = [
        Event(b"text", {"filename": "a.in"}, "1"),
        Event(b"\xff\x00binary", {}, "2"),
        Event(b"", {"empty": ""}, "3"),
        Event("päckchen\x00".encode(), {}, "4"),
    ]
    assert await mqs.publish("in", sent) == 4
    got = await received(mqs, "in", 4)
    assert [Event(d.payload, dict(d.headers), d.event_id) for d in got] == sent
    assert {d.n_deliveries for d in got} == {1}


async def test_a_thousand_events_are_in_order_and_counted(mqs: RabbitMqs) -> None:
    await mqs.publish("in", [str(number).encode() for number in range(1000)])
    await mqs.until_stats("in", depth=1000, published=1000)
    got = await received(mqs, "in", 1000)
    assert [int(d.payload) for d in got] == list(range(1000))
    await mqs.until_stats("in", depth=0, in_flight=0, done=1000)


async def test_what_is_not_wanted_any_more_is_left_in_the_queue_untouched(mqs: RabbitMqs) -> None:
    await mqs.publish("in", [str(number).encode() for number in range(20)])
    got = await received(mqs, "in", 7) + await received(mqs, "in", 13)
    assert sorted(int(d.payload) for d in got) == list(range(20))
    assert {d.n_deliveries for d in got} == {1}


async def test_event_service_answers_where_the_broker_is(mqs: RabbitMqs) -> None:
    profile = await mqs.profile("in")
    request = ev.PublishBatchRequest(mqid=profile.mqid, events=[ev.Event(payload=b"x")])
    metadata = (("authorization", f"Bearer {profile.auth_token}"),)
    with pytest.raises(Exception, match=profile.broker_address) as caught:
        await mqs.events.PublishBatch(request, metadata=metadata)
    assert "FAILED_PRECONDITION" in str(caught.value)


async def test_a_closed_queue_is_drained_when_it_was_quiet_and_ends_its_consumers(
    mqs: RabbitMqs,
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


async def test_a_queue_with_an_unsettled_delivery_is_not_drained(mqs: RabbitMqs) -> None:
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


async def test_refused_events_become_dead_letters_and_can_be_put_back(mqs: RabbitMqs) -> None:
    await mqs.publish("in", [Event(b"bad", {"k": "v"}, "1"), Event(b"worse", {}, "2")])
    async with mqs.consume("in") as deliveries:
        n_tries = 0
        while n_tries < 4:
            delivery = await anext(deliveries)
            n_tries += 1
            if delivery.payload == b"worse":
                await delivery.nack(requeue=False)
            else:
                await delivery.nack()
        await mqs.until_stats("in", dead=2)
    letters = {letter.event_id: letter for letter in await mqs.dead_letters("in")}
    assert letters["1"].n_deliveries == 3
    assert letters["1"].reason == "delivered too often"
    assert letters["2"].reason == "refused by its consumer"
    request = pb.RequeueDeadLettersRequest(
        mqid=mqs.mqids["in"], dead_letter_ids=[letters["1"].dead_letter_id]
    )
    assert (await mqs.mqs.RequeueDeadLetters(request)).n_requeued == 1
    (again,) = await received(mqs, "in", 1)
    assert (again.payload, again.headers, again.n_deliveries) == (b"bad", {"k": "v"}, 1)
    stats = await mqs.until_stats("in", dead=1, depth=0, in_flight=0, done=1)
    assert stats.published == 2


async def test_released_queues_are_deleted(mqs: RabbitMqs, rabbitmq_node: RabbitNode) -> None:
    await mqs.publish("in", [b"a"])
    await mqs.mqs.ReleaseQueues(pb.ReleaseQueuesRequest(workflow_id=WORKFLOW))
    async with mqs.consume("in", 1) as deliveries:
        # A public queue stays until it is empty.
        await (await anext(deliveries)).ack()
    for _ in range(300):
        names = [q["name"] for q in rabbitmq_node.ask("GET", f"queues/{mqs.vhost}?columns=name")]
        if not set(mqs.mqids.values()) & set(names):
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the queues are still there")


async def test_nothing_is_lost_over_a_restart_of_the_broker(
    mqs: RabbitMqs, rabbitmq_node: RabbitNode
) -> None:
    got: set[int] = set()
    half = asyncio.Event()

    async def consume() -> None:
        async with mqs.consume("in", credit=50) as deliveries:
            async for delivery in deliveries:
                got.add(int(delivery.payload))
                delivery.ack()
                if len(got) == 300:
                    half.set()
                if len(got) == 2000:
                    return

    async with asyncio.timeout(100), asyncio.TaskGroup() as group:
        group.create_task(consume())
        events = [str(number).encode() for number in range(2000)]
        group.create_task(mqs.publish("in", events))
        await half.wait()
        await asyncio.to_thread(rabbitmq_node.kill)
        await asyncio.to_thread(rabbitmq_node.start)
    assert got == set(range(2000))


async def test_tokens_are_renewed_on_open_connections_and_keys_rotate(start_mqs) -> None:
    mqs = await start_mqs(token_life=timedelta(seconds=3), key_rotation=timedelta(seconds=2))
    async with mqs.consume("in") as deliveries:
        for number in range(20):
            await mqs.publish("out", [b"x"])
            await mqs.publish("in", [str(number).encode()])
            delivery = await anext(deliveries)
            assert delivery.payload == str(number).encode()
            await delivery.ack()
            await asyncio.sleep(0.5)
    assert mqs.n_tokens > 5


async def test_work_goes_on_when_the_mqs_was_away_for_longer_than_a_token_lives(start_mqs) -> None:
    mqs = await start_mqs(token_life=timedelta(seconds=2))
    async with mqs.consume("in") as deliveries:
        await mqs.publish("in", [b"1"])
        await (await anext(deliveries)).ack()
        await mqs.stop()
        await asyncio.sleep(4)
        await mqs.start()
        await mqs.publish("in", [b"2"])
        delivery = await anext(deliveries)
        assert delivery.payload == b"2"
        await delivery.ack()
