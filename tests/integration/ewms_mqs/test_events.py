"""Events go in and come out."""

from __future__ import annotations

from mqs_client import Client

from ewms.mqs.v1 import mqs_service_pb2 as pb


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
