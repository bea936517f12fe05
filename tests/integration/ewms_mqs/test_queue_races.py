"""Two things at once, of which either may come first and none may go wrong."""

from __future__ import annotations

import asyncio

import grpc
from mqs_client import Client, Start

from ewms.mqs.v1 import event_service_pb2 as ev
from ewms.mqs.v1 import mqs_service_pb2 as pb


async def publish_until_closed(client: Client, queue: pb.QueueProfile, name: str) -> list[str]:
    """Publish events one by one; return those that were confirmed."""
    confirmed: list[str] = []
    while True:
        payload = f"{name}-{len(confirmed)}"
        try:
            await client.publish(queue, payload.encode())
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                raise
            return confirmed
        confirmed.append(payload)


async def test_no_event_is_confirmed_after_a_close_and_none_confirmed_before_it_is_lost(
    start: Start,
) -> None:
    servers = [await start(), await start()]
    for attempt in range(5):
        queue = await servers[0].queue(f"WF-{attempt}")
        publishers = [
            asyncio.create_task(publish_until_closed(servers[n % 2], queue, f"p{n}"))
            for n in range(8)
        ]
        consumption = await servers[1].consume(queue, credit=10_000)
        taken = await consumption.take(20)
        await servers[0].close(queue)
        at_close = (await servers[1].stats(queue)).published
        confirmed = {payload for some in await asyncio.gather(*publishers) for payload in some}
        assert (await servers[1].stats(queue)).published == at_close
        taken += await consumption.take(at_close - len(taken))
        assert {delivery.event.payload.decode() for delivery in taken} == confirmed
        await consumption.ack(*taken)
        assert await consumption.until_end() == []


async def test_a_close_and_a_last_acknowledgement_at_once_never_miss_the_drain(
    start: Start,
) -> None:
    servers = [await start(), await start()]
    watch = servers[1].mqs.WatchQueueStats(pb.WatchQueueStatsRequest(only_transitions=True))
    drained: set[str] = set()

    async def until_drained(mqid: str) -> None:
        while mqid not in drained:
            response = await watch.read()
            drained.update(stats.mqid for stats in response.queues if stats.is_drained)

    for attempt in range(25):
        queue = await servers[0].queue(f"WF-{attempt}")
        await servers[0].publish(queue, b"last")
        consumption = await servers[attempt % 2].consume(queue, credit=1)
        (delivery,) = await consumption.take(1)
        await asyncio.gather(consumption.ack(delivery), servers[0].close(queue))
        # Well before any sweep.
        async with asyncio.timeout(5):
            await until_drained(queue.mqid)
            await consumption.until_end()
    watch.cancel()


async def test_many_consumers_and_publishers_share_a_queue_without_loss_or_repeat(
    start: Start,
) -> None:
    servers = [await start(), await start()]
    queue = await servers[0].queue()
    n_events, n_consumers = 600, 12
    got: list[bytes] = []

    async def work(client: Client) -> int:
        consumption = await client.consume(queue, credit=3)
        n_taken = 0
        while (response := await consumption.call.read()) is not grpc.aio.EOF:
            if response.deliveries:
                n_taken += len(response.deliveries)
                got.extend(delivery.event.payload for delivery in response.deliveries)
                await consumption.say(ack=[d.delivery_id for d in response.deliveries])
        return n_taken

    workers = [asyncio.create_task(work(servers[n % 2])) for n in range(n_consumers)]
    for start_at in range(0, n_events, 50):
        batch = [str(number).encode() for number in range(start_at, start_at + 50)]
        await servers[start_at % 2].publish(queue, *batch)
    await servers[0].close(queue)
    shares = await asyncio.gather(*workers)
    assert sorted(map(int, got)) == list(range(n_events))
    assert min(shares) > 0


async def test_a_publisher_that_repeats_a_batch_through_two_servers_adds_it_once(
    start: Start,
) -> None:
    servers = [await start(), await start()]
    queue = await servers[0].queue()
    request = ev.PublishBatchRequest(
        mqid=queue.mqid, events=[ev.Event(event_id=f"id-{n}", payload=b"x") for n in range(50)]
    )
    metadata = (("authorization", f"Bearer {queue.auth_token}"),)
    answers = await asyncio.gather(
        *(servers[n % 2].events.PublishBatch(request, metadata=metadata) for n in range(10))
    )
    assert sum(answer.n_published for answer in answers) == 50
    assert (await servers[1].stats(queue)).depth == 50
