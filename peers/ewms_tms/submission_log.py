"""Submissions as the job event logs of a folder have them. Blocking: call it in a thread."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from ewms_tms.grid import Cluster, TaskforceUuid
from ewms_tms.job_events import EventKind
from ewms_tms.log_file import LOG_SUFFIX, LogFile, log_paths
from ewms_tms.submission_notes import SubmissionNotes

__all__ = ["find_submission", "log_of_today"]


def log_of_today(folder: Path) -> Path:
    """Where a cluster that is submitted now has its events, all its life."""
    return folder / f"{datetime.now(UTC):%Y-%m-%d}{LOG_SUFFIX}"


def find_submission(folder: Path, taskforce: TaskforceUuid, attempt: int) -> Cluster | None:
    """The cluster that the logs have for an attempt, in the queue or no longer."""
    for path in reversed(log_paths(folder)):
        for event in LogFile(path).read():
            if event.kind is EventKind.CLUSTER_SUBMIT:
                notes = SubmissionNotes.parse(event.text)
                if notes and (notes.taskforce, notes.attempt) == (taskforce, attempt):
                    return notes.cluster(event.cluster, event.time, str(path))
    return None
