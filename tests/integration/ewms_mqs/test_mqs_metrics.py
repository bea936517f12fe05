"""What an operator's Prometheus sees of an MQS."""

from __future__ import annotations

from mqs_client import Start
from scraping import scrape

from ewms.mqs.v1 import event_service_pb2 as ev

_MOVED = (
    "ewms_mqs_published_total",
    "ewms_mqs_deliveries_total,no",
    "ewms_mqs_deliveries_total,yes",
    "ewms_mqs_acknowledged_total",
    "ewms_mqs_requeued_total",
    "ewms_mqs_dead_letters_total,refused",
)


async def test_events_are_counted_on_each_step_of_their_way(start: Start) -> None:
    client = await start(metrics="127.0.0.1:0", max_deliveries=2)
    assert client.running is not None
    before = await scrape(client.running.metrics_address)
    queue = await client.queue()
    await client.publish(queue, b"good", b"bad")
    consumption = await client.consume(queue, credit=2)
    good, bad = await consumption.take(2)
    await consumption.ack(good)
    await consumption.say(nack=[ev.Nack(delivery_id=bad.delivery_id, requeue=True)], credit=1)
    (again,) = await consumption.take(1)
    await consumption.say(nack=[ev.Nack(delivery_id=again.delivery_id, requeue=True)])
    await consumption.until_settled(again)
    after = await scrape(client.running.metrics_address)
    moved = [after[name] - before.get(name, 0) for name in _MOVED]
    assert moved == [2, 2, 1, 1, 1, 1]


async def test_queues_and_their_limits_are_shown(start: Start) -> None:
    client = await start(metrics="127.0.0.1:0", max_queues_total=50)
    assert client.running is not None
    await client.grant("WF-1", "a", "b", private=("c",))
    found = await scrape(client.running.metrics_address)
    assert found["ewms_mqs_database_up"] == 1
    assert found["ewms_mqs_queues"] == 3
    assert found["ewms_mqs_limit,queues"] == 50
    assert found["ewms_mqs_events,waiting"] == 0
    assert found["ewms_mqs_database_connections,limit"] == 8
