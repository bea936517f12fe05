"""Dead letters over the wire: shown, told of, put back, and kept beyond their queue's release."""

from __future__ import annotations

from datetime import timedelta
from unittest.mock import Mock

import asyncpg
import grpc
import pytest
from mqs_client import Client, Start, bearer

from ewms.mqs.v1 import event_service_pb2 as ev
from ewms.mqs.v1 import mqs_service_pb2 as pb
from ewms_mqs.brokers.postgres_upkeep import collect_garbage
from ewms_mqs.config import MqsSettings
from ewms_mqs.register import Register
from ewms_mqs.retention import Retention
from ewms_postgres.database import open_database
from ewms_rpc.errors import FailedPrecondition, NotFound, from_rpc_error


async def spoil(client: Client, queue: pb.QueueProfile, *payloads: bytes) -> None:
    """Make dead letters of new events."""
    events = [ev.Event(payload=p, headers={"filename": p.decode()}) for p in payloads]
    await client.events.PublishBatch(
        ev.PublishBatchRequest(mqid=queue.mqid, events=events), metadata=bearer(queue)
    )
    consumption = await client.consume(queue, credit=len(events))
    deliveries = await consumption.take(len(events))
    nacks = [ev.Nack(delivery_id=d.delivery_id, reason="cannot be read") for d in deliveries]
    await consumption.say(nack=nacks)
    while len(consumption.settled) < len(events):
        consumption.settled += (await consumption.call.read()).settled
    consumption.call.cancel()


async def dead_letters(client: Client, queue: pb.QueueProfile) -> list[pb.DeadLetter]:
    request = pb.ListDeadLettersRequest(mqid=queue.mqid)
    return list((await client.mqs.ListDeadLetters(request, timeout=10)).dead_letters)


async def requeue(client: Client, queue: pb.QueueProfile, *ids: str, request_id: str = "") -> int:
    request = pb.RequeueDeadLettersRequest(
        mqid=queue.mqid, dead_letter_ids=ids, request_id=request_id
    )
    return (await client.mqs.RequeueDeadLetters(request, timeout=10)).n_requeued


async def release(client: Client, workflow_id: str) -> list[pb.QueueProfile]:
    message = pb.ReleaseQueuesRequest(workflow_id=workflow_id)
    return list((await client.mqs.ReleaseQueues(message, timeout=10)).retained)


async def tidy(url: str) -> None:
    """Remove what is over, as the server does every few seconds."""
    async with open_database(url, application_name="test") as database:
        nobody = Mock()
        retention = Retention(
            database, Register(database), nobody, nobody, nobody, MqsSettings(database=url)
        )
        await retention.remove_spent()
        await collect_garbage(database)


async def test_a_dead_letter_is_shown_with_its_headers_and_comes_back_with_them(
    client: Client,
) -> None:
    queue = await client.queue()
    await spoil(client, queue, b"a.dat")
    (letter,) = await dead_letters(client, queue)
    assert dict(letter.headers) == {"filename": "a.dat"}
    await requeue(client, queue, letter.dead_letter_id)
    (again,) = await (await client.consume(queue, credit=1)).take(1)
    assert dict(again.event.headers) == {"filename": "a.dat"}


async def test_unknown_ids_are_named_and_nothing_is_put_back(client: Client) -> None:
    queue = await client.queue()
    await spoil(client, queue, b"a")
    (letter,) = await dead_letters(client, queue)
    unknown = [str(int(letter.dead_letter_id) + number) for number in range(1, 13)]
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await requeue(client, queue, letter.dead_letter_id, *unknown)
    error = from_rpc_error(refusal.value)
    assert isinstance(error, NotFound)
    assert (error.resource_type, error.name) == (
        "dead letter",
        f"{', '.join(unknown[:10])} and 2 more",
    )
    assert await dead_letters(client, queue) == [letter]


async def test_a_watch_of_transitions_tells_of_dead_letters_and_when_they_are_gone(
    start: Start,
) -> None:
    here, there = await start(), await start()
    queue = await here.queue()
    watches = [
        client.mqs.WatchQueueStats(pb.WatchQueueStatsRequest(only_transitions=True), timeout=20)
        for client in (here, there)
    ]

    async def told(n_dead: int) -> None:
        for watch in watches:
            while (await watch.read()).queues[0].dead != n_dead:
                pass

    await told(0)
    await spoil(here, queue, b"a", b"b")
    await told(2)
    await requeue(there, queue)
    await told(0)
    late = here.mqs.WatchQueueStats(pb.WatchQueueStatsRequest(only_transitions=True), timeout=20)
    assert (await late.read()).queues[0].dead == 0


async def test_a_private_queue_is_gone_with_its_release_but_for_its_dead_letters(
    client: Client,
) -> None:
    (queue,) = await client.grant("WF-1", private=("between",))
    await spoil(client, queue, b"bad.dat")
    await client.publish(queue, b"of no use")
    letters = await dead_letters(client, queue)
    assert len(letters) == 1

    for _ in range(2):
        assert await release(client, "WF-1") == []
        assert await dead_letters(client, queue) == letters

    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await client.publish(queue, b"late")
    assert refusal.value.code() is grpc.StatusCode.NOT_FOUND
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await client.consume(queue, credit=1)
    assert refusal.value.code() is grpc.StatusCode.NOT_FOUND
    for ids in ((), (letters[0].dead_letter_id,)):
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await requeue(client, queue, *ids)
        error = from_rpc_error(refusal.value)
        assert isinstance(error, FailedPrecondition)
        assert error.violations[0].type == "QUEUE_RELEASED"


async def test_a_private_queue_without_dead_letters_leaves_nothing(client: Client) -> None:
    (queue,) = await client.grant("WF-1", private=("between",))
    await release(client, "WF-1")
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await dead_letters(client, queue)
    assert refusal.value.code() is grpc.StatusCode.NOT_FOUND


async def test_dead_letters_of_a_released_queue_go_with_the_retention(
    start: Start, mqs_database: str
) -> None:
    client = await start(queue_retention=timedelta(hours=1))
    (queue,) = await client.grant("WF-1", private=("between",))
    await spoil(client, queue, b"a", b"b")
    await release(client, "WF-1")
    connection = await asyncpg.connect(mqs_database)
    try:
        await tidy(mqs_database)
        assert await connection.fetchval("SELECT count(*) FROM mqs.dead_letters") == 2
        await connection.execute("UPDATE mqs.graves SET keep_until = now()")
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await dead_letters(client, queue)
        assert refusal.value.code() is grpc.StatusCode.NOT_FOUND
        await tidy(mqs_database)
        for table in ("dead_letters", "graves", "garbage"):
            assert await connection.fetchval(f"SELECT count(*) FROM mqs.{table}") == 0
    finally:
        await connection.close()
