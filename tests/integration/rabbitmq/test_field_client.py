"""The judge: the field's own client, with what a queue's profile says of it and nothing else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from mqclient.queue import Queue
from mqs_under_test import MqsUnderTest

from ewms.mqs.v1 import mqs_service_pb2 as pb
from ewms_client.events import Event


def field_queue(profile: pb.QueueProfile, *, mqid: str = "") -> Queue:
    """The queue as a user of that client opens it; `mqid` names another with the same token."""
    return Queue(
        profile.broker_type,
        address=profile.broker_address,
        name=mqid or profile.mqid,
        auth_token=profile.auth_token,
        timeout=10,
        retries=0,
    )


async def publish(queue: Queue, *data: Any) -> None:
    async def publish_all() -> None:
        async with queue.open_pub() as publisher:
            for item in data:
                await publisher.send(item)

    await elsewhere(publish_all)


async def consume(queue: Queue, count: int) -> list[Any]:
    async def consume_some() -> list[Any]:
        got = []
        async with queue.open_sub() as subscriber:
            async for item in subscriber:
                got.append(item)
                if len(got) == count:
                    break
        return got

    return await elsewhere(consume_some)


async def elsewhere(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """In a thread: that client blocks its loop, and this one's serves keys to the broker."""
    return await asyncio.to_thread(lambda: asyncio.run(work()))


async def test_it_publishes_and_consumes(mqs: MqsUnderTest) -> None:
    sent = ["text", {"a": [1, None, "ü"]}, 7, ""]
    await publish(field_queue(await mqs.profile("in")), *sent)
    assert await consume(field_queue(await mqs.profile("in")), len(sent)) == sent


async def test_our_client_reads_what_it_wrote_and_the_other_way_round(mqs: MqsUnderTest) -> None:
    await publish(field_queue(await mqs.profile("in")), "text", {"a": 1})
    async with mqs.consume("in", 2) as deliveries:
        payloads = []
        async for delivery in deliveries:
            payloads.append(delivery.payload)
            await delivery.ack()
    assert payloads[0] == b"text"
    assert json.loads(payloads[1]) == {"a": 1}
    await mqs.publish("out", [Event(b"ours"), Event(b"\xff\x00")])
    got = await consume(field_queue(await mqs.profile("out")), 2)
    assert got == ["ours", {"base64": "/wA="}]


async def test_a_token_opens_no_other_workflow_s_queue(mqs: MqsUnderTest) -> None:
    mine = await mqs.profile("in")
    await mqs.grant("theirs", workflow="WF-2")
    theirs = mqs.mqids["theirs"]
    with pytest.raises(Exception, match="ACCESS_REFUSED"):
        await publish(field_queue(mine, mqid=theirs), "intruder")
    with pytest.raises(Exception, match="ACCESS_REFUSED"):
        await consume(field_queue(mine, mqid=theirs), 1)
    assert (await mqs.profile("theirs", workflow="WF-2")).mqid == theirs


async def test_without_a_good_token_it_gets_nowhere(mqs: MqsUnderTest) -> None:
    profile = await mqs.profile("in")
    head, claims, signature = profile.auth_token.split(".")
    profile.auth_token = f"{head}.{claims}.{signature[::-1]}"
    with pytest.raises(Exception, match=r"(?i)auth|refused"):
        await publish(field_queue(profile), "intruder")
