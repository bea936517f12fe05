"""Brokers that die, are short of something, or cannot be asked: what waits, and what goes on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from gate import Gate
from mqs_under_test import MqsUnderTest, StartMqs
from rabbitmq_node import RabbitNode


def numbers(first: int, end: int) -> list[bytes]:
    return [str(number).encode() for number in range(first, end)]


async def test_nothing_is_lost_when_the_broker_is_killed(
    start_mqs: StartMqs, rabbitmq_node: RabbitNode
) -> None:
    mqs = await start_mqs(max_deliveries=20)
    got: set[int] = set()
    some = asyncio.Event()

    async def consume() -> None:
        async with mqs.consume("in", credit=50) as deliveries:
            async for delivery in deliveries:
                got.add(int(delivery.payload))
                delivery.ack()
                if len(got) == 300:
                    some.set()
                if len(got) == 2000:
                    return

    async with asyncio.timeout(100), asyncio.TaskGroup() as group:
        group.create_task(consume())
        group.create_task(mqs.publish("in", numbers(0, 2000)))
        await some.wait()
        await asyncio.to_thread(rabbitmq_node.kill)
        await asyncio.to_thread(rabbitmq_node.start)
    assert got == set(range(2000))
    # Of what was published twice, the second copy waits, and counts are right in the end.
    await mqs.close("in")
    async with mqs.consume("in") as deliveries:
        async for delivery in deliveries:
            await delivery.ack()
    await mqs.until_stats("in", depth=0, in_flight=0, dead=0, is_drained=True)


@pytest.mark.parametrize(
    ("token_life", "outage"),
    [(3, 15), pytest.param(60, 300, marks=[pytest.mark.soak, pytest.mark.timeout(900)])],
)
async def test_work_goes_on_after_an_outage_longer_than_tokens_live(
    start_mqs: StartMqs, rabbitmq_node: RabbitNode, token_life: int, outage: int
) -> None:
    mqs = await start_mqs(token_life=timedelta(seconds=token_life))
    got: list[int] = []
    before = asyncio.Event()

    async def events() -> AsyncIterator[bytes]:
        for event in numbers(0, 50):
            yield event
        await before.wait()
        for event in numbers(50, 100):
            yield event

    async with mqs.consume("in") as deliveries, asyncio.TaskGroup() as group:
        publishing = group.create_task(mqs.publish("in", events()))
        while len(got) < 50:
            got.append(int((delivery := await anext(deliveries)).payload))
            await delivery.ack()
        # The publisher and the consumer are both connected, and hold tokens that expire meanwhile.
        await asyncio.to_thread(rabbitmq_node.stop)
        await mqs.stop()
        before.set()
        await asyncio.sleep(outage)
        # Nobody has a token that the broker accepts until the MQS is there, too.
        await asyncio.to_thread(rabbitmq_node.start)
        await mqs.start()
        while set(got) != set(range(100)):
            got.append(int((delivery := await anext(deliveries)).payload))
            await delivery.ack()
    assert publishing.result() == 100
    await mqs.until_stats("in", depth=0, in_flight=0)


async def test_work_goes_on_when_the_mqs_alone_was_away_for_longer_than_tokens_live(
    start_mqs: StartMqs,
) -> None:
    mqs = await start_mqs(token_life=timedelta(seconds=2))
    async with mqs.consume("in") as deliveries:
        await mqs.publish("in", [b"1"])
        await (await anext(deliveries)).ack()
        await mqs.stop()
        await asyncio.sleep(4)
        await mqs.start()
        await mqs.publish("in", [b"2"])
        delivery = await anext(deliveries)
        assert delivery.payload == b"2"
        await delivery.ack()


@pytest.mark.parametrize(
    ("raised", "cleared", "words"),
    [
        pytest.param(
            ("set_vm_memory_high_watermark", "absolute", "1MB"),
            ("set_vm_memory_high_watermark", "0.6"),
            "short of memory",
            id="memory",
        ),
        pytest.param(
            ("set_disk_free_limit", str(10**15)),
            ("set_disk_free_limit", "50MB"),
            "short of disk space",
            id="disk",
        ),
    ],
)
async def test_while_the_broker_is_short_of_something_workflows_wait_and_are_told_of_what(
    mqs: MqsUnderTest,
    rabbitmq_node: RabbitNode,
    raised: tuple[str, ...],
    cleared: tuple[str, ...],
    words: str,
) -> None:
    await mqs.publish("in", [b"before"])
    await asyncio.to_thread(rabbitmq_node.ctl, *raised)
    try:
        workflow, reason = await mqs.until_refused()
        assert words in reason
        # What is there can be consumed; what is published waits for its confirmation.
        publishing = asyncio.create_task(mqs.publish("in", [b"meanwhile"]))
        (before,) = await mqs.received("in", 1)
        assert before.payload == b"before"
        assert not publishing.done()
    finally:
        await asyncio.to_thread(rabbitmq_node.ctl, *cleared)
    assert await publishing == 1
    await mqs.until_granted(workflow)
    assert [d.payload for d in await mqs.received("in", 1)] == [b"meanwhile"]


async def test_without_the_management_api_events_flow_and_new_workflows_wait(
    start_mqs: StartMqs, rabbitmq_node: RabbitNode
) -> None:
    async with Gate(rabbitmq_node.port + 1) as gate:
        mqs = await start_mqs(rabbitmq_management=f"http://127.0.0.1:{gate.port}")
        await mqs.publish("in", numbers(0, 10))
        await mqs.until_stats("in", depth=10, published=10)
        gate.close()
        workflow, reason = await mqs.until_refused()
        assert "management API" in reason
        assert len(await mqs.received("in", 10)) == 10
        await mqs.close("in")
        gate.open()
        await mqs.until_granted(workflow)
        await mqs.until_stats("in", depth=0, in_flight=0, done=10, published=10, is_drained=True)


async def test_a_delivery_held_for_longer_than_the_consumer_timeout_comes_again(
    mqs: MqsUnderTest, rabbitmq_node: RabbitNode, caplog: pytest.LogCaptureFixture
) -> None:
    await mqs.publish("in", [b"slow"])

    async def set_timeouts(consumer: int, tick: int) -> None:
        change = (
            f"application:set_env(rabbit, consumer_timeout, {consumer}),"
            f"application:set_env(rabbit, channel_tick_interval, {tick})."
        )
        await asyncio.to_thread(rabbitmq_node.ctl, "eval", change)

    await set_timeouts(2_000, 500)
    try:
        with caplog.at_level(logging.INFO, "ewms_client"):
            async with mqs.consume("in", credit=1) as deliveries:
                first = await anext(deliveries)
                second = await anext(deliveries)
                await set_timeouts(86_400_000, 60_000)
                await second.ack()
    finally:
        await set_timeouts(86_400_000, 60_000)
    assert (first.is_lost, second.payload, second.n_deliveries) == (True, b"slow", 2)
    assert "timed out" in caplog.text
    await mqs.until_stats("in", depth=0, in_flight=0, done=1)
