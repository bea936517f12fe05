"""What a consumer says about its deliveries, and what it makes of the answers."""

from __future__ import annotations

import pytest

from ewms.mqs.v1 import event_service_pb2
from ewms_client.delivery import Delivery, LeaseBook, Statement, Verb
from ewms_client.errors import DeliveryLost

ACK = Statement(Verb.ACK)


@pytest.fixture
def book() -> LeaseBook:
    book = LeaseBook()
    message = event_service_pb2.Delivery(delivery_id="d")
    book.hold(Delivery(message, book.settle), stream=1)
    return book


async def test_an_acknowledgement_is_done_when_the_broker_confirms_it(book: LeaseBook) -> None:
    settled = book.settle("d", ACK)
    assert book.unsaid() == [("d", 1, ACK)]

    book.note_said(["d"])
    assert book.unsaid() == []
    assert not settled.done()
    book.note_settled(["d"])

    assert settled.done()
    assert len(book) == 0


async def test_an_acknowledgement_waits_for_the_answer_to_an_extension(book: LeaseBook) -> None:
    book.extend_all()
    book.note_said(["d"])
    settled = book.settle("d", ACK)
    assert book.unsaid() == []

    book.note_settled(["d"])

    assert not settled.done()
    assert book.unsaid() == [("d", 1, ACK)]


async def test_what_a_broken_stream_left_open_is_said_again(book: LeaseBook) -> None:
    book.settle("d", ACK)
    book.note_said(["d"])

    book.note_stream_broke()

    assert book.unsaid() == [("d", 1, ACK)]


async def test_an_extension_is_not_said_again(book: LeaseBook) -> None:
    book.extend_all()
    book.note_said(["d"])

    book.note_stream_broke()

    assert book.unsaid() == []


async def test_what_is_being_settled_is_not_extended(book: LeaseBook) -> None:
    book.settle("d", ACK)

    book.extend_all()

    assert book.unsaid() == [("d", 1, ACK)]


async def test_the_first_word_counts(book: LeaseBook) -> None:
    first = book.settle("d", ACK)

    second = book.settle("d", Statement(Verb.NACK))

    assert first is second
    assert book.unsaid() == [("d", 1, ACK)]


async def test_a_lease_that_had_run_out_is_told_to_who_acknowledges(book: LeaseBook) -> None:
    settled = book.settle("d", ACK)
    book.note_said(["d"])

    book.note_lost(["d"])

    with pytest.raises(DeliveryLost):
        await settled
    with pytest.raises(DeliveryLost):
        await book.settle("d", ACK)
