"""Resume tokens of the watches over all workflows: opaque to clients, and checked when they return.

A token names a place in the feed: its epoch, the position up to which all was delivered, and what
of the positions behind it was delivered already, by the snapshot. It is bound to the watch and the
filter that it was given for.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from hashlib import blake2b

import orjson

from wms_grpc.domain.errors import InvalidSubmission, PositionLost, Violation
from wms_grpc.domain.ids import WorkflowId
from wms_grpc.storage.feed import FeedHead
from wms_grpc.storage.feed_parts import PositionPart

__all__ = ["ResumePlace", "Tokens"]

_VERSION = 1
Contained = AbstractSet[tuple[WorkflowId, int]]


@dataclass(frozen=True, slots=True)
class ResumePlace:
    """Where a watch goes on: behind `position`, but for the revisions that are `contained`."""

    epoch: str
    position: int
    contained: Contained

    def behind(self, part: PositionPart) -> ResumePlace:
        """Return the place behind the last part of a position."""
        contained = self.contained
        if contained:
            contained = contained - {(part.workflow_id, part.revision)}
        return ResumePlace(self.epoch, part.position[0], contained)

    def check(self, head: FeedHead) -> None:
        """Raise PositionLost if the feed has nothing to go on from there."""
        if self.epoch != head.epoch:
            raise PositionLost("the feed was renewed since that token; begin with a snapshot")
        if self.position > head.last_position:
            raise PositionLost("the token lies in the future of the feed")
        if self.position < head.compacted_position:
            raise PositionLost("what follows that token is no longer kept; begin with a snapshot")


class Tokens:
    """The tokens of one watch (`WatchWorkflows`, …) with one filter, in its canonical text."""

    def __init__(self, watch: str, canonical_filter: str) -> None:
        self._query = blake2b(f"{watch} {canonical_filter}".encode(), digest_size=8).hexdigest()

    def encode(self, place: ResumePlace) -> bytes:
        """Return the token for that place."""
        return urlsafe_b64encode(
            orjson.dumps(
                (_VERSION, self._query, place.epoch, place.position, sorted(place.contained))
            )
        )

    def decode(self, token: str) -> ResumePlace:
        """Return the token's place.

        Raises InvalidSubmission for what is no token, or is one of another watch or filter.
        """
        try:
            fields = orjson.loads(urlsafe_b64decode(token.encode()))
            version, query, epoch, position, contained = fields
            if version != _VERSION or type(position) is not int or type(epoch) is not str:
                raise ValueError("not of this version")
            place = ResumePlace(
                epoch, position, {(WorkflowId(str(name)), int(n)) for name, n in contained}
            )
        except (ValueError, TypeError):
            raise _refusal("is no resume token") from None
        if query != self._query:
            raise _refusal("belongs to a watch with another filter")
        return place


def _refusal(description: str) -> InvalidSubmission:
    return InvalidSubmission([Violation("resume_token", description)])
