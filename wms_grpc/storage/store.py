"""The database as the WMS's own code sees it: reads, and changes in revisions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from ewms_postgres.database import Database
from wms_grpc.domain.ids import WorkflowId
from wms_grpc.domain.topics import Topic
from wms_grpc.storage.encoded_revisions import CommittedPart
from wms_grpc.storage.revisions import RevisionSet, revising, write_at_once

__all__ = ["Store"]


@dataclass(frozen=True, slots=True)
class Store:
    """A database, and who is told of each commit.

    `on_commit` is called at once after a commit, in the process that wrote it, with what was
    written and the topics that concerns; it wakes watches and loops and must neither block nor
    raise.
    """

    db: Database
    on_commit: Callable[[Sequence[CommittedPart], AbstractSet[Topic]], None]

    def revising(
        self, workflow_ids: Iterable[WorkflowId]
    ) -> AbstractAsyncContextManager[RevisionSet]:
        """Change workflows in one transaction; see `storage.revisions.revising`."""
        return revising(self.db, workflow_ids, self.on_commit)

    async def write_at_once(self, revisions: RevisionSet, room: Mapping[str, int]) -> None:
        """Write a revision of an unread workflow; see `storage.revisions.write_at_once`."""
        await write_at_once(self.db, revisions, room, self.on_commit)
