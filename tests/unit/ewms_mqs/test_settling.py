"""Delivery ids, and what becomes of a settlement."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ewms_mqs.brokers.postgres_settling import arguments_of, keys_of, made_id, outcome_of, parsed_id
from ewms_mqs.model import DeliveryId, Refusal, Settlement

numbers = st.integers(1, 2**31 - 1)


@given(event_no=st.integers(1, 2**63 - 1), claim_no=numbers)
def test_an_id_leads_back_to_its_event_and_claim(event_no: int, claim_no: int) -> None:
    assert parsed_id(made_id(event_no, claim_no)) == (event_no, claim_no)


@pytest.mark.parametrize("text", ["", ".", "1", "1.", ".1", "0.1", "1.0", "g.1", "1.1.1", "-1.1"])
def test_text_that_is_no_id_is_none(text: str) -> None:
    assert parsed_id(text) is None


@given(text=st.text(max_size=80))
def test_no_text_makes_an_id_beyond_what_the_database_holds(text: str) -> None:
    key = parsed_id(text)
    assert key is None or (0 < key[0] < 2**63 and 0 < key[1] < 2**31)


@given(keys=st.lists(st.tuples(numbers, numbers)))
def test_rows_are_always_asked_for_in_the_order_of_the_events(
    keys: list[tuple[int, int]],
) -> None:
    event_nos, claim_nos = keys_of(made_id(*key) for key in keys)
    assert list(zip(event_nos, claim_nos, strict=True)) == sorted(set(keys))


def test_of_two_deliveries_of_one_event_only_the_later_is_extended() -> None:
    earlier, later = made_id(7, 1), made_id(7, 2)
    settlement = Settlement(extensions=[later, earlier])
    outcome = outcome_of(settlement, acked=set(), refused=set(), extended={7})
    assert (outcome.settled, outcome.lost) == ([later], [earlier])


def test_a_refusal_without_words_is_given_some() -> None:
    refusal = Refusal(made_id(1, 1), requeue=False, reason="")
    assert arguments_of(Settlement(refusals=[refusal]))["nack_reasons"] != [""]


def test_every_delivery_of_a_settlement_is_either_settled_or_lost() -> None:
    ids = [made_id(number, 1) for number in range(1, 7)]
    settlement = Settlement(
        [ids[0], ids[1], DeliveryId("nonsense")],
        [Refusal(ids[2], True, ""), Refusal(ids[3], True, "")],
        [ids[4], ids[5]],
    )
    outcome = outcome_of(settlement, acked={1}, refused={3}, extended={5})
    assert outcome.settled == [ids[0], ids[2], ids[4]]
    assert outcome.lost == [ids[1], "nonsense", ids[3], ids[5]]
