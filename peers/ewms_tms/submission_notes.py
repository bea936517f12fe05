"""The words that travel with a cluster's submission event, and name whose cluster it is.

They let anybody who reads the log again, after whatever kill, say to which taskforce and attempt
a cluster belongs. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from ewms_tms.grid import Cluster, TaskforceUuid
from ewms_tms.job_events import ClusterId

__all__ = ["SubmissionNotes"]

_FORM = re.compile(r"ewms taskforce=(\S+) attempt=(\d+) n_workers=(\d+)")


@dataclass(frozen=True, slots=True)
class SubmissionNotes:
    """Whose cluster it is, and how many workers were asked for."""

    taskforce: TaskforceUuid
    attempt: int
    n_workers: int

    def __str__(self) -> str:
        return f"ewms taskforce={self.taskforce} attempt={self.attempt} n_workers={self.n_workers}"

    def cluster(self, cluster_id: ClusterId, submit_time: datetime, log_path: str) -> Cluster:
        """The cluster that an event with these notes is about."""
        return Cluster(
            cluster_id=cluster_id,
            taskforce=self.taskforce,
            attempt=self.attempt,
            n_workers=self.n_workers,
            submit_time=submit_time,
            log_path=log_path,
        )

    @classmethod
    def parse(cls, text: str) -> SubmissionNotes | None:
        """The notes in an event's text; None for a cluster that is not of EWMS."""
        found = _FORM.search(text)
        if found is None:
            return None
        return cls(TaskforceUuid(found[1]), int(found[2]), int(found[3]))
