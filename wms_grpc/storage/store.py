"""The database as the WMS's own code sees it: reads, and changes in revisions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from ewms_postgres.database import Database
from wms_grpc.domain.ids import WorkflowId
from wms_grpc.storage.revisions import CommittedPart, RevisionSet, revising

__all__ = ["Store"]


@dataclass(frozen=True, slots=True)
class Store:
    """A database, and who is told of each commit.

    `on_commit` is called at once after a commit with what it wrote, in the process that wrote it;
    it wakes loops and watches and must neither block nor raise.
    """

    db: Database
    on_commit: Callable[[Sequence[CommittedPart]], None]

    def revising(
        self, workflow_ids: Iterable[WorkflowId]
    ) -> AbstractAsyncContextManager[RevisionSet]:
        """Change workflows in one transaction; see `storage.revisions.revising`."""
        return revising(self.db, workflow_ids, self.on_commit)
