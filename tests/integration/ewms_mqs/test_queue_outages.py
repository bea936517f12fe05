"""Processes that are killed or paused, and a database that goes away and comes back."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import grpc
import pytest
from database_link import DatabaseLink
from mqs_client import Client, Start, bearer
from mqs_process import Spawn

from ewms.mqs.v1 import event_service_pb2 as ev
from ewms.mqs.v1 import mqs_service_pb2 as pb
from ewms_rpc.errors import Unavailable, from_rpc_error


async def settle(client: Client, queue: pb.QueueProfile, **ids: list[str]) -> list[str]:
    request = ev.SettleDeliveriesRequest(mqid=queue.mqid, **ids)
    answer = await client.events.SettleDeliveries(request, metadata=bearer(queue), timeout=10)
    return list(answer.settled)


async def until_it_serves(client: Client, queue: pb.QueueProfile) -> None:
    """Return once the server reaches its database."""
    while True:
        try:
            await client.stats(queue)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
        else:
            return


async def test_a_server_killed_in_the_middle_loses_nothing_that_it_confirmed(
    spawn: Spawn,
) -> None:
    first = await spawn(lease="1")
    queue = await first.client.queue()
    confirmed: list[bytes] = []

    async def publish_until_it_dies() -> None:
        while True:
            payload = str(len(confirmed)).encode()
            await first.client.publish(queue, payload)
            confirmed.append(payload)

    publisher = asyncio.create_task(publish_until_it_dies())
    consumption = await first.client.consume(queue, credit=50)
    taken = await consumption.take(30)
    await consumption.ack(*taken[:10])
    await first.kill()
    with pytest.raises(grpc.aio.AioRpcError):
        await publisher
    second = await spawn(lease="1")
    acknowledged = {delivery.event.payload for delivery in taken[:10]}
    # A delivery of the dead server is as good as ever.
    late = taken[10]
    assert await settle(second.client, queue, ack=[late.delivery_id]) == [late.delivery_id]
    acknowledged.add(late.event.payload)
    missing = set(confirmed) - acknowledged
    again = await second.client.consume(queue, credit=10_000)
    got: set[bytes] = set()
    while not missing <= got:
        got.update(delivery.event.payload for delivery in await again.take(1))
    assert not got & acknowledged


async def test_a_server_that_is_told_to_stop_ends_its_streams_and_exits_with_0(
    spawn: Spawn,
) -> None:
    process = await spawn()
    queue = await process.client.queue()
    consumption = await process.client.consume(queue, credit=1)
    stopping = asyncio.create_task(process.terminate())
    with pytest.raises(grpc.aio.AioRpcError) as ending:
        await consumption.until_end()
    error = from_rpc_error(ending.value)
    assert isinstance(error, Unavailable)
    assert error.retry_after is not None
    async with asyncio.timeout(10):
        assert await stopping == 0


async def test_no_lease_ends_while_the_server_is_paused_nor_for_one_more_after(
    spawn: Spawn,
) -> None:
    process = await spawn(lease="1.2")
    queue = await process.client.queue()
    await process.client.publish(queue, b"worked on")
    consumption = await process.client.consume(queue, credit=2)
    (delivery,) = await consumption.take(1)
    process.pause()
    await asyncio.to_thread(time.sleep, 2.0)
    process.resume()
    # The first thing that it does once awake may be to look for leases that have run out.
    extended = await settle(process.client, queue, extend=[delivery.delivery_id])
    assert extended == [delivery.delivery_id]
    (again,) = await consumption.take(1)
    assert again.n_deliveries == 2


async def test_a_paused_server_holds_leases_though_another_one_is_awake(spawn: Spawn) -> None:
    paused, awake = await spawn(lease="2"), await spawn(lease="2")
    queue = await paused.client.queue()
    await paused.client.publish(queue, b"worked on")
    (delivery,) = await (await paused.client.consume(queue, credit=1)).take(1)
    # From here on the grace of both their starts has passed, or an extension begins anew.
    await settle(paused.client, queue, extend=[delivery.delivery_id])
    paused.pause()
    await asyncio.to_thread(time.sleep, 2.2)
    assert (await awake.client.stats(queue)).in_flight == 1
    paused.resume()
    acked = await settle(paused.client, queue, ack=[delivery.delivery_id])
    assert acked == [delivery.delivery_id]


async def test_a_consumer_that_is_silent_for_longer_than_its_lease_loses_its_delivery(
    client: Client,
) -> None:
    queue = await client.queue()
    await client.publish(queue, b"slow")
    silent = await client.consume(queue, credit=1)
    (delivery,) = await silent.take(1)
    other = await client.consume(queue, credit=1)
    (again,) = await other.take(1)
    assert (again.event.payload, again.n_deliveries) == (b"slow", 2)
    await silent.ack(delivery)
    assert silent.lost == [delivery.delivery_id]
    await other.ack(again)
    assert other.settled == [again.delivery_id]


async def test_a_database_that_goes_away_is_told_and_found_again(
    start: Start, mqs_database: str
) -> None:
    async with DatabaseLink(mqs_database) as link:
        client = await start(database=link.url, lease=timedelta(seconds=5))
        queue = await client.queue()
        await client.publish(queue, b"before")
        watch = client.mqs.WatchQueueStats(pb.WatchQueueStatsRequest(only_transitions=True))
        await watch.read()
        consumption = await client.consume(queue, credit=2)
        (delivery,) = await consumption.take(1)
        link.cut()
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await client.publish(queue, b"meanwhile")
        error = from_rpc_error(refusal.value)
        assert isinstance(error, Unavailable)
        assert error.retry_after is not None
        link.mend()
        await until_it_serves(client, queue)
        await client.publish(queue, b"after")
        (second,) = await consumption.take(1)
        assert second.event.payload == b"after"
        await client.close(queue)
        await consumption.ack(delivery, second)
        await consumption.until_end()
        flags: list[tuple[bool, bool]] = []
        while (True, True) not in flags:
            flags += [(s.is_closed, s.is_drained) for s in (await watch.read()).queues]
        watch.cancel()
