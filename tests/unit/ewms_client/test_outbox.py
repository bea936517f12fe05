"""The outbox bounds what is held, keeps the order, and can be read again."""

from __future__ import annotations

import asyncio

from ewms.mqs.v1 import event_service_pb2
from ewms_client import events
from ewms_client.events import Event, Outbox


def payloads(batch: event_service_pb2.PublishRequest | None) -> list[bytes]:
    assert batch is not None
    return [event.payload for event in batch.events]


async def test_what_is_not_confirmed_comes_again_on_the_next_stream_with_the_same_ids() -> None:
    outbox = Outbox("mqid")
    await outbox.put(Event(b"one"))
    first = await outbox.next_batch()
    await outbox.put(Event(b"two"))
    second = await outbox.next_batch()

    await outbox.confirm(1)
    outbox.rewind()

    assert payloads(first) == [b"one"]
    assert await outbox.next_batch() == second
    assert outbox.n_confirmed == 1


async def test_events_that_wait_together_go_together_in_order() -> None:
    outbox = Outbox("mqid")
    for number in range(events.BATCH_EVENTS + 1):
        await outbox.put(Event(b"%d" % number))

    batch = payloads(await outbox.next_batch())

    assert batch == [b"%d" % number for number in range(events.BATCH_EVENTS)]
    assert payloads(await outbox.next_batch()) == [b"%d" % events.BATCH_EVENTS]


async def test_a_batch_stays_within_its_bytes_unless_one_event_is_larger() -> None:
    outbox = Outbox("mqid")
    for size in (600_000, 600_000, 3_000_000):
        await outbox.put(Event(bytes(size)))

    sizes = [sum(map(len, payloads(await outbox.next_batch()))) for _ in range(3)]

    assert sizes == [600_000, 600_000, 3_000_000]


async def test_a_full_outbox_takes_more_only_when_something_is_confirmed() -> None:
    outbox = Outbox("mqid")
    await outbox.put(Event(bytes(events.OUTBOX_BYTES)))
    waiting = asyncio.ensure_future(outbox.put(Event(b"next")))
    await outbox.next_batch()
    assert not waiting.done()

    await outbox.confirm(1)

    await waiting


async def test_an_event_larger_than_the_whole_outbox_still_goes_through() -> None:
    outbox = Outbox("mqid")

    await outbox.put(Event(bytes(events.OUTBOX_BYTES + 1)))

    assert len(payloads(await outbox.next_batch())) == 1


async def test_a_closed_outbox_is_done_when_all_is_confirmed() -> None:
    outbox = Outbox("mqid")
    await outbox.put(Event(b"last"))
    await outbox.close()
    await outbox.next_batch()
    assert await outbox.next_batch() is None
    assert not outbox.is_done

    await outbox.confirm(1)

    assert outbox.is_done
