"""Queues are granted within limits, once for each workflow, and taken back."""

from __future__ import annotations

import asyncio
import secrets
from datetime import timedelta

import grpc
import pytest
from mqs_client import Client, Start, bearer

from ewms.mqs.v1 import event_service_pb2 as ev
from ewms.mqs.v1 import mqs_service_pb2 as pb
from ewms_rpc.errors import FailedPrecondition, from_rpc_error


def specs(n: int) -> list[pb.QueueSpec]:
    return [
        pb.QueueSpec(mqid=secrets.token_hex(16), alias=f"queue-{number}") for number in range(n)
    ]


async def request(client: Client, workflow_id: str, n: int) -> pb.RequestQueuesResponse:
    message = pb.RequestQueuesRequest(workflow_id=workflow_id, queues=specs(n))
    return await client.mqs.RequestQueues(message, timeout=10)


async def release(client: Client, workflow_id: str) -> list[pb.QueueProfile]:
    message = pb.ReleaseQueuesRequest(workflow_id=workflow_id)
    return list((await client.mqs.ReleaseQueues(message, timeout=10)).retained)


async def test_profiles_come_in_the_order_of_the_request_and_without_tokens(
    client: Client,
) -> None:
    wanted = pb.RequestQueuesRequest(workflow_id="WF-1", queues=specs(5))
    granted = (await client.mqs.RequestQueues(wanted)).granted
    assert [profile.mqid for profile in granted.profiles] == [spec.mqid for spec in wanted.queues]
    assert client.running is not None
    assert {profile.broker_address for profile in granted.profiles} == {client.running.address}
    assert not any(profile.auth_token for profile in granted.profiles)
    assert all(profile.is_activated for profile in granted.profiles)


async def test_asking_again_gives_the_same_queues_and_asking_for_others_is_refused(
    client: Client,
) -> None:
    wanted = pb.RequestQueuesRequest(workflow_id="WF-1", queues=specs(2))
    first, second = await asyncio.gather(*(client.mqs.RequestQueues(wanted) for _ in range(2)))
    assert first == second
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await request(client, "WF-1", 2)
    assert refusal.value.code() is grpc.StatusCode.ALREADY_EXISTS


async def test_a_workflow_without_queues_is_granted_none(client: Client) -> None:
    response = await request(client, "WF-1", 0)
    assert response.WhichOneof("result") == "granted"
    assert await client.tokens("WF-1") == []


async def test_a_workflow_waits_for_room_and_is_granted_when_there_is_some(start: Start) -> None:
    client = await start(max_queues_total=3, retry_after=timedelta(seconds=7))
    await request(client, "WF-1", 2)
    waiting = (await request(client, "WF-2", 2)).try_again_later
    assert waiting.retry_after.ToTimedelta() == timedelta(seconds=7)
    assert "2 of 3" in waiting.reason
    assert (await request(client, "WF-3", 1)).WhichOneof("result") == "granted"
    await release(client, "WF-1")
    assert (await request(client, "WF-2", 2)).WhichOneof("result") == "granted"


async def test_more_than_one_workflow_may_have_is_refused_for_good(start: Start) -> None:
    client = await start(max_queues_per_workflow=2)
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await request(client, "WF-1", 3)
    error = from_rpc_error(refusal.value)
    assert isinstance(error, FailedPrecondition)
    assert error.violations[0].type == "QUEUE_LIMIT"
    assert (await request(client, "WF-1", 2)).WhichOneof("result") == "granted"


async def test_two_servers_never_grant_the_same_room(start: Start) -> None:
    servers = [await start(max_queues_total=10), await start(max_queues_total=10)]
    answers = await asyncio.gather(
        *(request(servers[number % 2], f"WF-{number}", 3) for number in range(12))
    )
    assert [answer.WhichOneof("result") for answer in answers].count("granted") == 3


async def test_a_release_leaves_a_tombstone_whether_queues_were_granted_or_not(
    client: Client,
) -> None:
    await request(client, "WF-1", 1)
    for workflow_id in ("WF-1", "WF-2"):
        assert await release(client, workflow_id) == []
        assert await release(client, workflow_id) == []
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await request(client, workflow_id, 1)
        error = from_rpc_error(refusal.value)
        assert isinstance(error, FailedPrecondition)
        assert error.violations[0].type == "QUEUES_RELEASED"


async def test_private_queues_go_at_once_and_public_ones_when_they_are_read(
    client: Client,
) -> None:
    public, private = await client.grant("WF-1", "output", private=("between",))
    await client.publish(public, b"a result")
    await client.publish(private, b"of no use")
    (kept,) = await release(client, "WF-1")
    assert (kept.mqid, kept.is_closed) == (public.mqid, True)
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await client.publish(private, b"late")
    assert refusal.value.code() is grpc.StatusCode.NOT_FOUND
    (with_token,) = await client.tokens("WF-1")
    consumption = await client.consume(with_token, credit=1)
    (delivery,) = await consumption.take(1)
    await consumption.ack(delivery)
    assert await consumption.until_end() == []


async def test_who_consumes_a_queue_is_told_its_end_also_after_the_release(client: Client) -> None:
    (queue,) = await client.grant("WF-1", "output")
    before = await client.consume(queue, credit=1)
    (kept,) = await release(client, "WF-1")
    assert kept.mqid == queue.mqid
    assert await before.until_end() == []
    after = await client.consume(queue, credit=1)
    assert await after.until_end() == []


async def test_a_kept_queue_goes_when_its_retention_has_passed(start: Start) -> None:
    client = await start(queue_retention=timedelta(0))
    (queue,) = await client.grant("WF-1", "output")
    await client.publish(queue, b"never read")
    consumption = await client.consume(queue, credit=0)
    await release(client, "WF-1")
    with pytest.raises(grpc.aio.AioRpcError) as ending:
        await consumption.until_end()
    assert ending.value.code() is grpc.StatusCode.NOT_FOUND


async def test_an_alias_that_is_there_twice_is_refused_by_its_path(client: Client) -> None:
    queues = specs(2)
    queues[1].alias = queues[0].alias
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await client.mqs.RequestQueues(pb.RequestQueuesRequest(workflow_id="WF-1", queues=queues))
    assert "queues[1].alias" in (refusal.value.details() or "")


async def test_an_unknown_workflow_and_an_unknown_queue_are_not_found(client: Client) -> None:
    queue = await client.queue()
    calls = [
        client.mqs.GetQueueProfiles(pb.GetQueueProfilesRequest(workflow_id="WF-9")),
        client.mqs.GetQueueStats(pb.GetQueueStatsRequest(workflow_id="WF-9")),
        client.mqs.RefreshTokens(pb.RefreshTokensRequest(workflow_id="WF-9")),
        client.mqs.CloseQueue(pb.CloseQueueRequest(workflow_id="WF-1", mqids=["0" * 32])),
        client.mqs.ListDeadLetters(pb.ListDeadLettersRequest(mqid="0" * 32)),
    ]
    for call in calls:
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await call
        assert refusal.value.code() is grpc.StatusCode.NOT_FOUND
    renewal = ev.RenewTokenRequest(mqid=queue.mqid)
    assert (await client.events.RenewToken(renewal, metadata=bearer(queue))).profile.auth_token
