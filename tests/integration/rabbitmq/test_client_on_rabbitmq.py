"""What RabbitMQ alone does, or does otherwise; what every broker does is in `brokers`."""

from __future__ import annotations

import asyncio

import pytest
from mqs_under_test import MqsUnderTest
from rabbitmq_node import RabbitNode

from ewms.mqs.v1 import event_service_pb2 as ev
from ewms_client.events import Event


async def test_event_service_answers_where_the_broker_is(mqs: MqsUnderTest) -> None:
    profile = await mqs.profile("in")
    request = ev.PublishBatchRequest(mqid=profile.mqid, events=[ev.Event(payload=b"x")])
    metadata = (("authorization", f"Bearer {profile.auth_token}"),)
    with pytest.raises(Exception, match=profile.broker_address) as caught:
        await mqs.events.PublishBatch(request, metadata=metadata)
    assert "FAILED_PRECONDITION" in str(caught.value)


async def test_queues_are_durable_quorum_queues_with_a_way_to_the_dead_letters(
    mqs: MqsUnderTest, rabbitmq_node: RabbitNode, rabbitmq_vhost: str
) -> None:
    await mqs.publish("in", [b"a"])
    # The broker shows all of a queue once it has counted what is in it.
    await mqs.until_stats("in", depth=1)
    queue = rabbitmq_node.ask("GET", f"queues/{rabbitmq_vhost}/{mqs.mqids['in']}")
    assert (queue["type"], queue["durable"], queue["policy"]) == ("quorum", True, "ewms")
    # Others would be refused when the field's client declares it.
    assert queue["arguments"] == {"x-queue-type": "quorum"}
    policy = queue["effective_policy_definition"]
    assert policy["dead-letter-strategy"] == "at-least-once"


async def test_a_dead_letter_tells_as_much_as_rabbitmq_does(mqs: MqsUnderTest) -> None:
    await mqs.publish("in", [Event(b"bad", {}, "1"), Event(b"worse", {}, "2")])
    async with mqs.consume("in") as deliveries:
        for _ in range(4):
            delivery = await anext(deliveries)
            await delivery.nack(requeue=delivery.payload == b"bad")
        await mqs.until_stats("in", dead=2)
    reasons = {letter.event_id: letter.reason for letter in await mqs.dead_letters("in")}
    assert reasons == {"1": "delivered too often", "2": "refused by its consumer"}


async def test_released_queues_are_deleted(
    mqs: MqsUnderTest, rabbitmq_node: RabbitNode, rabbitmq_vhost: str
) -> None:
    await mqs.release()
    for _ in range(300):
        if not set(mqs.mqids.values()) & _names(rabbitmq_node, rabbitmq_vhost):
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the queues are still there")


def _names(node: RabbitNode, vhost: str) -> set[str]:
    return {queue["name"] for queue in node.ask("GET", f"queues/{vhost}?columns=name")}
