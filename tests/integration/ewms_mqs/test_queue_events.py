"""Events go in and come out."""

from __future__ import annotations

from datetime import timedelta

import grpc
import pytest
from mqs_client import Client, Start, bearer

from ewms.mqs.v1 import event_service_pb2 as ev
from ewms.mqs.v1 import mqs_service_pb2 as pb
from ewms_rpc.errors import FailedPrecondition, ResourceExhausted, from_rpc_error


async def test_an_event_is_published_delivered_and_acknowledged(client: Client) -> None:
    queue = await client.queue()
    assert await client.publish(queue, b"one", b"two") == 2
    consumption = await client.consume(queue, credit=10)
    deliveries = await consumption.take(2)
    assert [d.event.payload for d in deliveries] == [b"one", b"two"]
    assert {d.n_deliveries for d in deliveries} == {1}
    await consumption.ack(*deliveries)
    stats = await client.stats(queue)
    assert (stats.depth, stats.in_flight, stats.done, stats.published) == (0, 0, 2, 2)


async def test_a_consumer_that_waits_is_woken_by_the_publisher(client: Client) -> None:
    queue = await client.queue()
    consumption = await client.consume(queue, credit=1)
    await client.publish(queue, b"late")
    (delivery,) = await consumption.take(1)
    assert delivery.event.payload == b"late"


async def test_a_closed_queue_is_drained_by_its_last_acknowledgement(client: Client) -> None:
    queue = await client.queue()
    await client.publish(queue, b"last")
    watch = client.mqs.WatchQueueStats(pb.WatchQueueStatsRequest(only_transitions=True))
    (seen,) = (await watch.read()).queues
    assert not seen.is_closed
    consumption = await client.consume(queue, credit=1)
    (delivery,) = await consumption.take(1)
    assert not (await client.close(queue)).is_drained
    (seen,) = (await watch.read()).queues
    assert (seen.is_closed, seen.is_drained) == (True, False)
    await consumption.ack(delivery)
    (seen,) = (await watch.read()).queues
    assert seen.is_drained
    assert await consumption.until_end() == []
    watch.cancel()


async def test_a_stream_of_batches_is_confirmed_as_it_becomes_durable(client: Client) -> None:
    queue = await client.queue()
    call = client.events.Publish(metadata=bearer(queue))
    for number in range(50):
        mqid = queue.mqid if number == 0 else ""
        event = ev.Event(payload=str(number).encode())
        await call.write(ev.PublishRequest(mqid=mqid, events=[event]))
    await call.done_writing()
    confirmed = [response.n_confirmed async for response in call]
    assert confirmed == sorted(set(confirmed))
    assert confirmed[-1] == 50
    deliveries = await (await client.consume(queue, credit=100)).take(50)
    assert [int(d.event.payload) for d in deliveries] == list(range(50))


async def test_a_publishing_stream_into_a_closed_queue_confirms_what_came_before(
    client: Client,
) -> None:
    queue = await client.queue()
    call = client.events.Publish(metadata=bearer(queue))
    await call.write(ev.PublishRequest(mqid=queue.mqid, events=[ev.Event(payload=b"in time")]))
    assert (await call.read()).n_confirmed == 1
    await client.close(queue)
    await call.write(ev.PublishRequest(events=[ev.Event(payload=b"too late")]))
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await call.read()
    error = from_rpc_error(refusal.value)
    assert isinstance(error, FailedPrecondition)
    assert error.violations[0].type == "QUEUE_CLOSED"
    assert (await client.stats(queue)).published == 1


async def test_no_more_is_outstanding_than_the_credit_and_settling_gives_it_back(
    client: Client,
) -> None:
    queue = await client.queue()
    await client.publish(queue, b"1", b"2", b"3")
    consumption = await client.consume(queue, credit=2)
    first, second = await consumption.take(2)
    assert (await client.stats(queue)).depth == 1
    await consumption.say(nack=[ev.Nack(delivery_id=first.delivery_id, requeue=True)])
    (third,) = await consumption.take(1)
    assert third.event.payload == b"3"
    await consumption.ack(second)
    (again,) = await consumption.take(1)
    assert (again.event.payload, again.n_deliveries) == (b"1", 2)


async def test_a_consumer_that_half_closes_gives_back_at_once(client: Client) -> None:
    queue = await client.queue()
    await client.publish(queue, b"1", b"2")
    leaving = await client.consume(queue, credit=2)
    done, _ = await leaving.take(2)
    await leaving.ack(done)
    await leaving.call.done_writing()
    await leaving.until_end()
    (delivery,) = await (await client.consume(queue, credit=2)).take(1)
    assert (delivery.event.payload, delivery.n_deliveries) == (b"2", 1)


async def test_a_broken_stream_keeps_its_leases_until_they_run_out(client: Client) -> None:
    queue = await client.queue()
    await client.publish(queue, b"worked on")
    broken = await client.consume(queue, credit=1)
    (held,) = await broken.take(1)
    other = await client.consume(queue, credit=1)
    broken.call.cancel()
    request = ev.SettleDeliveriesRequest(mqid=queue.mqid, extend=[held.delivery_id])
    answer = await client.events.SettleDeliveries(request, metadata=bearer(queue))
    assert answer.settled == [held.delivery_id]
    (again,) = await other.take(1)
    assert again.n_deliveries == 2
    request = ev.SettleDeliveriesRequest(mqid=queue.mqid, ack=[held.delivery_id])
    answer = await client.events.SettleDeliveries(request, metadata=bearer(queue))
    assert answer.lost == [held.delivery_id]


async def test_a_delivery_is_acknowledged_apart_from_its_stream_and_gives_credit_back(
    client: Client,
) -> None:
    queue = await client.queue()
    await client.publish(queue, b"1", b"2")
    consumption = await client.consume(queue, credit=1)
    (first,) = await consumption.take(1)
    request = ev.SettleDeliveriesRequest(mqid=queue.mqid, ack=[first.delivery_id])
    answer = await client.events.SettleDeliveries(request, metadata=bearer(queue))
    assert answer.settled == [first.delivery_id]
    (second,) = await consumption.take(1)
    assert second.event.payload == b"2"


async def test_large_events_come_in_messages_that_fit(client: Client) -> None:
    queue = await client.queue()
    large = [bytes([number]) * (15 * 1024 * 1024) for number in range(2)]
    for payload in large:
        await client.publish(queue, payload)
    deliveries = await (await client.consume(queue, credit=2)).take(2)
    assert [delivery.event.payload for delivery in deliveries] == large


async def test_dead_letters_are_listed_and_put_back_until_the_queue_is_drained(
    client: Client,
) -> None:
    queue = await client.queue()
    await client.publish(queue, b"bad")
    consumption = await client.consume(queue, credit=1)
    (bad,) = await consumption.take(1)
    await consumption.say(nack=[ev.Nack(delivery_id=bad.delivery_id, reason="cannot be read")])
    while bad.delivery_id not in consumption.settled:
        consumption.settled += (await consumption.call.read()).settled
    (letter,) = (
        await client.mqs.ListDeadLetters(pb.ListDeadLettersRequest(mqid=queue.mqid))
    ).dead_letters
    assert (letter.payload, letter.reason, letter.size) == (b"bad", "cannot be read", 3)
    back = pb.RequeueDeadLettersRequest(mqid=queue.mqid)
    assert (await client.mqs.RequeueDeadLetters(back)).n_requeued == 1
    (again,) = await consumption.take(1)
    await consumption.ack(again)
    assert (await client.close(queue)).is_drained
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await client.mqs.RequeueDeadLetters(back)
    assert refusal.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_consumer_of_a_drained_queue_is_told_so_at_once(client: Client) -> None:
    queue = await client.queue()
    assert (await client.close(queue)).is_drained
    assert await (await client.consume(queue, credit=1)).until_end() == []


async def test_consumers_at_two_servers_share_a_queue(start: Start) -> None:
    here, there = await start(), await start()
    queue = await here.queue()
    at_home = await here.consume(queue, credit=1)
    abroad = await there.consume(queue, credit=1)
    await here.publish(queue, b"1")
    await there.publish(queue, b"2")
    got = [*await at_home.take(1), *await abroad.take(1)]
    assert {delivery.event.payload for delivery in got} == {b"1", b"2"}
    await here.close(queue)
    await at_home.ack(got[0])
    await abroad.ack(got[1])
    await at_home.until_end()
    await abroad.until_end()


async def test_a_full_broker_says_when_to_come_again_and_takes_more_once_there_is_room(
    start: Start,
) -> None:
    client = await start(max_events_total=1, retry_after=timedelta(seconds=3))
    queue = await client.queue()

    async def publish_until_refused() -> None:
        while True:
            await client.publish(queue, b"x")

    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await publish_until_refused()
    error = from_rpc_error(refusal.value)
    assert isinstance(error, ResourceExhausted)
    assert error.retry_after == timedelta(seconds=3)


async def test_counts_are_watched_with_rates_that_fall_to_zero(client: Client) -> None:
    queue = await client.queue()
    request = pb.WatchQueueStatsRequest(workflow_ids=["WF-1"])
    request.interval.FromMilliseconds(100)
    watch = client.mqs.WatchQueueStats(request)
    (stats,) = (await watch.read()).queues
    assert (stats.published, stats.publish_rate) == (0, 0)
    await client.publish(queue, b"1", b"2")
    (stats,) = (await watch.read()).queues
    assert (stats.depth, stats.published) == (2, 2)
    assert stats.publish_rate > 0
    (stats,) = (await watch.read()).queues
    assert (stats.published, stats.publish_rate) == (2, 0)
    watch.cancel()


async def test_a_queue_granted_later_joins_the_watch_of_all(client: Client) -> None:
    await client.queue("WF-1")
    watch = client.mqs.WatchQueueStats(pb.WatchQueueStatsRequest(only_transitions=True))
    (first,) = (await watch.read()).queues
    assert first.workflow_id == "WF-1"
    await client.queue("WF-2")
    (second,) = (await watch.read()).queues
    assert second.workflow_id == "WF-2"
    watch.cancel()
