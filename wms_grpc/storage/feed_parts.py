"""Parts of revisions as watches are sent them, and their places in the feed.

A place is a `Position`: a number (a workflow's revision, or a position across workflows) and the
part of it that was read last. Parts follow one another without a gap, so each says which place it
follows, and whoever reads compares. What is sent is encoded once, around the stored bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from ewms.wms.v1 import watch_pb2, workflow_service_pb2
from wms_grpc.domain.ids import WorkflowId
from wms_grpc.storage.encoded_revisions import CommittedPart, WorkflowAttributes

__all__ = [
    "REVISION",
    "REVISION_OF_MANY",
    "WHOLE",
    "FeedPart",
    "Position",
    "PositionPart",
    "RevisionPart",
    "field_tag",
    "framed",
    "place_of",
    "whole",
]

Position = tuple[int, int]

# Stands for "all its parts" in a Position: the largest `integer`, so that it compares as the last.
WHOLE = 2**31 - 1


def whole(number: int) -> Position:
    """Return the place behind all parts of that number."""
    return (number, WHOLE)


class FeedPart(Protocol):
    """What a reader needs of a part to keep its place."""

    @property
    def position(self) -> Position:
        """The place behind this part."""

    @property
    def previous(self) -> Position:
        """The place that this part follows."""

    @property
    def size(self) -> int:
        """Roughly the bytes that it takes in memory."""


@dataclass(frozen=True, slots=True)
class RevisionPart:
    """A part of a workflow's revision; `message` is an encoded `WatchWorkflowResponse`.

    `settles`: the workflow is settled with this revision.
    """

    position: Position
    previous: Position
    message: bytes
    settles: bool

    @property
    def size(self) -> int:
        """Roughly the bytes that it takes in memory."""
        return len(self.message) + 256

    @classmethod
    def committed(cls, part: CommittedPart) -> RevisionPart:
        """Return the part as its own process has just committed it."""
        return cls(
            *place_of(part.revision, part.part, part.is_last),
            framed(REVISION, part.body),
            bool(part.after["is_settled"]),
        )


@dataclass(frozen=True)
class PositionPart:
    """A part of what stands at one position across all workflows.

    `message` is an encoded `WatchWorkflowsResponse` with the revision and without a resume token.
    `before` and `after` are what a filter may ask of the workflow.
    """

    position: Position
    previous: Position
    message: bytes
    workflow_id: WorkflowId
    revision: int
    is_last: bool
    before: WorkflowAttributes | None
    after: WorkflowAttributes

    @property
    def size(self) -> int:
        """Roughly the bytes that it takes in memory."""
        return 3 * len(self.message) + 2048

    @cached_property
    def decoded(self) -> watch_pb2.WorkflowRevision:
        """The revision, decoded once for all who look into it; not to be changed."""
        return workflow_service_pb2.WatchWorkflowsResponse.FromString(self.message).revision


def place_of(number: int, part: int, is_last: bool) -> tuple[Position, Position]:
    """Return the place behind a part, and the place that it follows."""
    position = whole(number) if is_last else (number, part)
    previous = whole(number - 1) if part == 0 else (number, part - 1)
    return position, previous


def framed(field: bytes, body: bytes) -> bytes:
    """Return the encoded message that holds `body`, an encoded message, in the field."""
    length = len(body)
    size = bytearray(field)
    while length > 0x7F:
        size.append(length & 0x7F | 0x80)
        length >>= 7
    size.append(length)
    return bytes(size) + body


def field_tag(message: Any, name: str) -> bytes:
    """Return the tag of a message's field that is itself a message, a string or bytes."""
    number: int = message.DESCRIPTOR.fields_by_name[name].number
    if number > 15:
        raise ValueError(f"the tag of {name} takes more than one byte")
    return bytes([number << 3 | 2])


REVISION = field_tag(workflow_service_pb2.WatchWorkflowResponse, "revision")
REVISION_OF_MANY = field_tag(workflow_service_pb2.WatchWorkflowsResponse, "revision")
