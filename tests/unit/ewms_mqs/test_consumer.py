"""A consumer is dealt no more than its credit, and no more bytes than may wait for it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from ewms.mqs.v1.event_service_pb2 import Event
from ewms_mqs.consumer import Consumer
from ewms_mqs.model import DeliveredEvent, DeliveryId, Settled


def delivered(number: int, size: int = 10) -> DeliveredEvent:
    time = datetime.now(UTC)
    return DeliveredEvent(DeliveryId(f"{number:x}.1"), Event(payload=b"x"), 1, time, size)


async def test_credit_goes_with_a_delivery_and_comes_back_with_its_settlement() -> None:
    consumer = Consumer("pilot")
    consumer.add_credit(2)
    consumer.deal([delivered(1), delivered(2)])
    assert consumer.room == 0
    assert consumer.let_go(DeliveryId("1.1"))
    assert not consumer.let_go(DeliveryId("1.1"))
    assert consumer.room == 1


async def test_credit_beyond_what_may_be_outstanding_is_dropped() -> None:
    consumer = Consumer("pilot")
    for _ in range(3):
        consumer.add_credit(10_000)
    assert consumer.room == 10_000


async def test_one_who_takes_nothing_has_no_room_until_it_does() -> None:
    consumer = Consumer("pilot")
    consumer.add_credit(100)
    consumer.deal([delivered(number, 1024 * 1024) for number in range(1, 6)])
    assert consumer.room == 0
    parcels = [await consumer.next_parcel() for _ in range(2)]
    assert [parcel is not None and parcel.made_room for parcel in parcels] == [False, True]
    assert consumer.room == 95


async def test_a_large_event_goes_alone() -> None:
    consumer = Consumer("pilot")
    consumer.add_credit(3)
    consumer.deal([delivered(1, 10), delivered(2, 15_000_000), delivered(3, 10)])
    sizes = []
    for _ in range(3):
        parcel = await consumer.next_parcel()
        assert parcel is not None
        sizes.append([delivery.size for delivery in parcel.deliveries])
    assert sizes == [[10], [15_000_000], [10]]


async def test_what_was_settled_is_told_before_the_end() -> None:
    consumer = Consumer("pilot")
    consumer.tell(Settled([DeliveryId("1.1")], [DeliveryId("2.1")]))
    consumer.end()
    parcel = await consumer.next_parcel()
    assert parcel is not None
    assert (parcel.settled, parcel.lost) == (["1.1"], ["2.1"])
    assert await consumer.next_parcel() is None


async def test_the_first_reason_to_end_stands() -> None:
    consumer = Consumer("pilot")
    consumer.end(ValueError("first"))
    consumer.end()
    with pytest.raises(ValueError, match="first"):
        await consumer.next_parcel()


async def test_one_who_leaves_has_no_room_and_is_asked_whether_it_is_there() -> None:
    consumer = Consumer("pilot")
    consumer.add_credit(2)
    consumer.deal([delivered(1)])
    leaving = asyncio.create_task(consumer.leave_in_order())
    await asyncio.sleep(0)
    assert consumer.room == 0
    parcel = await consumer.next_parcel()
    assert parcel is not None
    assert (parcel.asks, parcel.deliveries) == (True, [])
    assert not leaving.done()
    consumer.sent(parcel)
    await leaving
    consumer.end()
    assert await consumer.next_parcel() is None
    assert list(consumer.held) == ["1.1"]
