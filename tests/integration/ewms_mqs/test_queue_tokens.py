"""Who may use a queue: tokens, their keys, and the credentials of pilots."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any
from urllib.request import urlopen

import grpc
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet
from mqs_client import Client, Start

from ewms.mqs.v1 import event_service_pb2 as ev
from ewms.mqs.v1 import mqs_service_pb2 as pb


async def renew(client: Client, mqid: str, bearer: str) -> pb.QueueProfile:
    metadata = (("authorization", f"Bearer {bearer}"),)
    request = ev.RenewTokenRequest(mqid=mqid)
    return (await client.events.RenewToken(request, metadata=metadata, timeout=10)).profile


async def refusal_of(call: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await call
    return refusal.value.code()


async def keys(client: Client) -> dict[str, Any]:
    answer = await client.mqs.GetJwks(pb.GetJwksRequest(), timeout=10)
    document: dict[str, Any] = json.loads(answer.jwks_json)
    return document


async def credential(client: Client, taskforce: str, *mqids: str) -> str:
    request = pb.RefreshTokensRequest(workflow_id="WF-1", taskforce_uuid=taskforce, mqids=mqids)
    return (await client.mqs.RefreshTokens(request, timeout=10)).pilot_credential


async def test_a_token_says_what_rabbitmq_understands_and_its_key_is_published(
    client: Client,
) -> None:
    queue = await client.queue()
    key_set = KeySet.import_key_set(await keys(client))  # type: ignore[arg-type]
    claims = jwt.decode(queue.auth_token, key_set, algorithms=["RS256"]).claims
    assert claims["aud"] == "ewms-mqs"
    assert claims["exp"] - claims["iat"] == 24 * 3600
    assert claims["exp"] == queue.token_expire_time.seconds
    assert claims["scope"] == [
        f"ewms-mqs.configure:*/{queue.mqid}",
        f"ewms-mqs.read:*/{queue.mqid}",
        f"ewms-mqs.write:*/{queue.mqid}",
        "ewms-mqs.write:*/amq.default",
    ]


async def test_public_keys_alone_are_published_also_over_http(start: Start) -> None:
    client = await start(jwks="127.0.0.1:0")
    assert client.running is not None

    def fetch() -> dict[str, Any]:
        with urlopen(f"http://{client.running.jwks_address}/jwks", timeout=5) as answer:
            assert answer.headers["Content-Type"] == "application/jwk-set+json"
            document: dict[str, Any] = json.load(answer)
            return document

    document = await asyncio.to_thread(fetch)
    assert document == await keys(client)
    (key,) = document["keys"]
    assert key.keys() == {"kty", "n", "e", "kid", "use", "alg"}


async def test_no_token_a_bad_one_and_another_queues_are_refused(client: Client) -> None:
    one, other = await client.grant("WF-1", "one", "other")
    assert await refusal_of(renew(client, one.mqid, "")) is grpc.StatusCode.UNAUTHENTICATED
    assert await refusal_of(renew(client, one.mqid, "a.b.c")) is grpc.StatusCode.UNAUTHENTICATED
    tampered = one.auth_token[:-8] + "AAAAAAAA"
    assert await refusal_of(renew(client, one.mqid, tampered)) is grpc.StatusCode.UNAUTHENTICATED
    other_token = renew(client, one.mqid, other.auth_token)
    assert await refusal_of(other_token) is grpc.StatusCode.PERMISSION_DENIED
    without = client.events.PublishBatch(
        ev.PublishBatchRequest(mqid=one.mqid, events=[ev.Event(payload=b"x")])
    )
    assert await refusal_of(without) is grpc.StatusCode.UNAUTHENTICATED


async def test_a_token_ends_with_its_life_and_a_credential_renews_it(start: Start) -> None:
    client = await start(token_life=timedelta(seconds=1))
    queue = await client.queue()
    pilots = await credential(client, "TF-1", queue.mqid)

    async def publish_until_refused() -> None:
        while True:
            await client.publish(queue, b"x")

    with pytest.raises(grpc.aio.AioRpcError, match="expired") as refusal:
        await publish_until_refused()
    assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED
    fresh = await renew(client, queue.mqid, pilots)
    assert await client.publish(fresh, b"y") == 1


async def test_a_token_is_used_again_while_half_of_its_life_is_left(client: Client) -> None:
    (first,) = await client.grant("WF-1", "input")
    (second,) = await client.tokens("WF-1")
    assert first.auth_token == second.auth_token


async def test_an_old_key_stays_as_long_as_its_tokens(start: Start) -> None:
    client = await start(key_rotation=timedelta(seconds=1), token_life=timedelta(seconds=30))
    queue = await client.queue()
    before = (await keys(client))["keys"]
    after = before
    while len(after) == len(before):
        after = (await keys(client))["keys"]
    assert {key["kid"] for key in before} < {key["kid"] for key in after}
    assert await client.publish(queue, b"signed by the old key") == 1


async def test_another_server_accepts_a_key_that_it_has_not_seen_yet(start: Start) -> None:
    one, other = await start(), await start()
    queue = await one.queue()
    assert await other.publish(queue, b"x") == 1


async def test_a_credential_is_good_for_its_queues_alone_and_for_no_events(
    client: Client,
) -> None:
    one, other = await client.grant("WF-1", "one", "other")
    pilots = await credential(client, "TF-1", one.mqid)
    assert (await renew(client, one.mqid, pilots)).auth_token
    elsewhere = renew(client, other.mqid, pilots)
    assert await refusal_of(elsewhere) is grpc.StatusCode.PERMISSION_DENIED
    publishing = client.events.PublishBatch(
        ev.PublishBatchRequest(mqid=one.mqid, events=[ev.Event(payload=b"x")]),
        metadata=(("authorization", f"Bearer {pilots}"),),
    )
    assert await refusal_of(publishing) is grpc.StatusCode.UNAUTHENTICATED
    forged = renew(client, one.mqid, pilots[:-4] + "AAAA")
    assert await refusal_of(forged) is grpc.StatusCode.UNAUTHENTICATED


async def test_a_credential_ends_when_it_is_revoked_and_when_the_queues_are_released(
    client: Client,
) -> None:
    queue = await client.queue()
    await client.publish(queue, b"keeps the queue")
    revoked = await credential(client, "TF-1")
    released = await credential(client, "TF-2")
    request = pb.RevokeCredentialRequest(workflow_id="WF-1", taskforce_uuid="TF-1")
    for _ in range(2):
        await client.mqs.RevokeCredential(request)
    assert await refusal_of(renew(client, queue.mqid, revoked)) is grpc.StatusCode.UNAUTHENTICATED
    assert (await renew(client, queue.mqid, released)).auth_token
    await client.mqs.ReleaseQueues(pb.ReleaseQueuesRequest(workflow_id="WF-1"))
    assert await refusal_of(renew(client, queue.mqid, released)) is grpc.StatusCode.UNAUTHENTICATED
    late = credential(client, "TF-3")
    assert await refusal_of(late) is grpc.StatusCode.FAILED_PRECONDITION
