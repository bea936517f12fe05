"""Pages of lists, after AIP-158: how large, in which order, and from where.

A page token names the last resource of the page before and is bound to its query, so that it
cannot be used with another filter or order, where it would silently skip or repeat. It is opaque
but no secret: it holds nothing that the page did not show.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from wms_grpc.domain.errors import InvalidSubmission, Violation

__all__ = [
    "Order",
    "Place",
    "Query",
    "moment_of",
    "number_of",
    "page_size",
    "page_token",
    "parse_order",
    "place_after",
]

DEFAULT_PAGE_SIZE: Final = 100
MAX_PAGE_SIZE: Final = 1000
_VERSION: Final = 1

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# In microseconds after 1970 a moment of the year 6537.
_LARGEST: Final = 2**57


@dataclass(frozen=True, slots=True)
class Place:
    """Where a resource stands in its list: the value that it is sorted by, and its id.

    Raises ValueError for what no resource has, so that a made-up token finds its end here.
    """

    number: int
    name: str = ""

    def __post_init__(self) -> None:
        if type(self.number) is not int or not 0 <= self.number < _LARGEST:
            raise ValueError("not a value that lists are sorted by")
        if not isinstance(self.name, str) or not (self.name.isascii() and self.name.isprintable()):
            raise ValueError("not an id")


def number_of(moment: datetime) -> int:
    """Return a moment as a `Place` has it, in microseconds after 1970."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def moment_of(number: int) -> datetime:
    """Return the moment of `number_of`."""
    return _EPOCH + timedelta(microseconds=number)


@dataclass(frozen=True, slots=True)
class Order:
    """What a list is sorted by; resources of the same value by their id, in the same direction."""

    field: str
    is_descending: bool = False

    def __str__(self) -> str:
        return f"{self.field} desc" if self.is_descending else self.field


@dataclass(frozen=True, slots=True)
class Query:
    """What a page token is bound to: the list, what it is restricted to, and its order."""

    rpc: str
    restriction: str
    order: Order

    def digest(self, number: int, name: str) -> str:
        """Return a fingerprint of the query and of a place in its list."""
        parts = [_VERSION, self.rpc, self.restriction, str(self.order), number, name]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def page_size(requested: int) -> int:
    """Return how many resources a page holds: 100 for 0, at most 1,000.

    Raises InvalidSubmission for less than 0.
    """
    if requested < 0:
        raise InvalidSubmission([Violation("page_size", "must not be negative")])
    return min(requested, MAX_PAGE_SIZE) or DEFAULT_PAGE_SIZE


def parse_order(text: str, fields: Sequence[str]) -> Order:
    """Return the order that is asked for, `create_time desc` for an empty text.

    Raises InvalidSubmission for anything but one of the fields, with or without `desc`.
    """
    match text.split():
        case []:
            return Order("create_time", is_descending=True)
        case [field] if field in fields:
            return Order(field)
        case [field, "desc"] if field in fields:
            return Order(field, is_descending=True)
    choice = " or ".join(repr(field) for field in fields)
    raise InvalidSubmission([Violation("order_by", f"must be {choice}, or that with ' desc'")])


def page_token(query: Query, place: Place) -> str:
    """Return the token of the page behind the resource at `place`."""
    digest = query.digest(place.number, place.name)
    text = json.dumps([_VERSION, digest, place.number, place.name], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def place_after(query: Query, token: str) -> Place | None:
    """Return the place behind which the page begins, None for the first page.

    Raises InvalidSubmission for what is not, to the letter, a token of this query.
    """
    if not token:
        return None
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        _version, _digest, number, name = json.loads(text)
        place = Place(number, name)
    except (ValueError, TypeError, RecursionError):
        place = None
    if place is None or page_token(query, place) != token:
        raise InvalidSubmission([Violation("page_token", _NOT_OURS)])
    return place


_NOT_OURS: Final = (
    "is not the next_page_token of a page of this query: "
    "give it back unchanged, with the same filter and order_by"
)
