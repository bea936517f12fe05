"""The six guarantees of a watch as checks on what watches recorded, each by its name.

The truth is the feed's table: what was committed, revision by revision. A recording is what one
client saw over any number of watches, the later ones resumed behind the last whole revision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ewms.wms.v1 import watch_pb2, workflow_service_pb2

Truth = Mapping[int, watch_pb2.WorkflowRevision]


@dataclass
class Recording:
    """What one client saw: for each of its watches, where it began and every message."""

    watches: list[tuple[int | None, list[workflow_service_pb2.WatchWorkflowResponse]]] = field(
        default_factory=list
    )

    def begin(self) -> None:
        """Note that a watch begins, behind the last revision that was seen whole."""
        self.watches.append((self.last_whole(), []))

    def add(self, message: workflow_service_pb2.WatchWorkflowResponse) -> None:
        """Note what the watch says."""
        self.watches[-1][1].append(message)

    def last_whole(self) -> int | None:
        """The last revision of which all parts were seen, by snapshot or by itself."""
        last: int | None = None
        for _, messages in self.watches:
            for message in messages:
                if message.HasField("snapshot") and message.snapshot.is_last:
                    last = message.snapshot.revision
                if message.HasField("revision") and message.revision.is_last:
                    last = message.revision.revision
        return last


def revisions_of(messages: list[workflow_service_pb2.WatchWorkflowResponse]) -> list[int]:
    """Return the numbers of all revisions' parts, in the order in which they came."""
    return [m.revision.revision for m in messages if m.HasField("revision")]


def check_ordered(recording: Recording) -> None:
    """By revision, never backwards."""
    for _, messages in recording.watches:
        numbers = revisions_of(messages)
        assert numbers == sorted(numbers)


def check_unique(recording: Recording) -> None:
    """No change twice on one watch."""
    for _, messages in recording.watches:
        last_parts = [
            m.revision.revision for m in messages if m.HasField("revision") and m.revision.is_last
        ]
        assert len(last_parts) == len(set(last_parts))


def check_reliable(recording: Recording, truth: Truth) -> None:
    """If a and c are seen, so is every b between; and each says what was committed."""
    for begun_behind, messages in recording.watches:
        seen = whole_revisions(messages)
        start = begun_behind
        for message in messages:
            if message.HasField("snapshot"):
                start = message.snapshot.revision
        if start is None:
            assert not seen
            continue
        assert list(seen) == list(range(start + 1, start + 1 + len(seen)))
        for number, revision in seen.items():
            assert revision == truth[number], f"revision {number} is not what was committed"


def check_atomic(recording: Recording) -> None:
    """What one transaction changed is one revision: its parts come together, the last marked."""
    for _, messages in recording.watches:
        open_revision: int | None = None
        for message in messages:
            if open_revision is not None:
                assert message.HasField("revision"), "something came between two parts"
                assert message.revision.revision == open_revision
            if message.HasField("revision"):
                open_revision = None if message.revision.is_last else message.revision.revision


def check_resumable(recording: Recording, truth: Truth, upto: int) -> None:
    """From the last revision seen: all watches of a client together have every one, once."""
    numbers = [number for _, messages in recording.watches for number in whole_revisions(messages)]
    first = next(m.snapshot.revision for _, ms in recording.watches for m in ms[:1])
    assert numbers == list(range(first + 1, upto + 1))
    assert set(numbers) <= set(truth)


def check_bookmarkable(recording: Recording) -> None:
    """A checkpoint promises that all up to its revision has been delivered."""
    for begun_behind, messages in recording.watches:
        delivered = begun_behind
        for message in messages:
            if message.HasField("snapshot") and message.snapshot.is_last:
                delivered = message.snapshot.revision
            elif message.HasField("revision") and message.revision.is_last:
                delivered = message.revision.revision
            elif message.HasField("checkpoint"):
                assert message.checkpoint.revision == delivered


def whole_revisions(
    messages: list[workflow_service_pb2.WatchWorkflowResponse],
) -> dict[int, watch_pb2.WorkflowRevision]:
    """Return the revisions of which every part came, put together."""
    whole: dict[int, watch_pb2.WorkflowRevision] = {}
    partial: watch_pb2.WorkflowRevision | None = None
    for message in messages:
        if not message.HasField("revision"):
            continue
        if partial is None:
            partial = watch_pb2.WorkflowRevision()
        partial.MergeFrom(message.revision)
        if message.revision.is_last:
            whole[partial.revision] = partial
            partial = None
    return whole
