from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import pytest

from wms_grpc.domain.errors import InvalidSubmission
from wms_grpc.domain.paging import (
    Order,
    Place,
    Query,
    moment_of,
    number_of,
    page_size,
    page_token,
    parse_order,
    place_after,
)

NEWEST_FIRST = Order("create_time", is_descending=True)
QUERY = Query("ListWorkflows", 'owner = "ada"', NEWEST_FIRST)
PLACE = Place(1_795_000_000_000_001, "WF-69231c00-0badcafe")


def test_a_token_leads_back_to_its_place() -> None:
    token = page_token(QUERY, PLACE)
    assert place_after(QUERY, token) == PLACE
    assert place_after(QUERY, "") is None
    assert len(token) < 256


@pytest.mark.parametrize(
    "other",
    [
        Query("ListTaskforces", QUERY.restriction, NEWEST_FIRST),
        Query("ListWorkflows", 'owner = "bob"', NEWEST_FIRST),
        Query("ListWorkflows", QUERY.restriction, Order("create_time")),
        Query("ListWorkflows", QUERY.restriction, Order("priority", is_descending=True)),
    ],
)
def test_a_token_of_another_query_is_refused(other: Query) -> None:
    with pytest.raises(InvalidSubmission) as caught:
        place_after(other, page_token(QUERY, PLACE))
    assert [violation.path for violation in caught.value.violations] == ["page_token"]


def test_a_token_with_any_character_changed_is_refused() -> None:
    token = page_token(QUERY, PLACE)
    mangled = {
        token[:at] + char + token[at + 1 :] for at in range(len(token)) for char in "A9_=\n"
    } | {token[:-1], token + "A", token + "=", " " + token}
    for text in mangled - {token}:
        with pytest.raises(InvalidSubmission):
            place_after(QUERY, text)


@pytest.mark.parametrize(
    "parts",
    [
        [1, "x"],
        {"a": 1},
        None,
        [1, QUERY.digest(-1, ""), -1, ""],
        [1, QUERY.digest(2**70, ""), 2**70, ""],
        [1, QUERY.digest(1, "\0"), 1, "\0"],
        [1, "", 1, 1],
        [1, "", [], ""],
        [1, "", True, ""],
    ],
)
def test_a_made_up_token_is_refused_and_breaks_nothing(parts: object) -> None:
    token = base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")
    with pytest.raises(InvalidSubmission):
        place_after(QUERY, token)


def test_a_moment_survives_to_the_microsecond() -> None:
    moment = datetime(2026, 11, 23, 12, 0, 0, 123457, tzinfo=UTC)
    assert moment_of(number_of(moment)) == moment


def test_page_sizes_are_coerced_down_and_never_negative() -> None:
    assert [page_size(asked) for asked in (0, 1, 1000, 1001, 2**31 - 1)] == [
        100, 1, 1000, 1000, 1000,
    ]  # fmt: skip
    with pytest.raises(InvalidSubmission, match="page_size"):
        page_size(-1)


def test_the_order_is_one_of_the_fields_with_or_without_desc() -> None:
    fields = ("create_time", "priority")
    assert parse_order("", fields) == NEWEST_FIRST
    assert parse_order(" priority   desc ", fields) == Order("priority", is_descending=True)
    assert parse_order("create_time", fields) == Order("create_time")
    for bad in ("name", "priority asc", "priority,create_time", "desc", "priority desc desc"):
        with pytest.raises(InvalidSubmission, match="order_by"):
            parse_order(bad, fields)
