"""Deletes what is over: clusters' folders and job event logs that nobody asks for any more.

Guarantees that a log stays as long as one of its clusters is not over, and everything for its time
since the last change. Blocking: call it in a thread.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from ewms_tms.job_events import ClusterId, EventKind
from ewms_tms.log_file import LogFile, log_paths

__all__ = ["expire"]


def expire(folder: Path, is_over: Callable[[ClusterId], bool], before: float) -> set[ClusterId]:
    """Delete what has not changed for long.

    Parameters
    ----------
    folder
        A schedd's, with `logs` and `taskforces` in it.
    is_over
        Whether a cluster has ended and its end is known, or it never was.
    before
        Seconds since the epoch: what changed later stays.

    Returns
    -------
    Clusters of which no log tells any more.
    """
    for taskforce in list((folder / "taskforces").iterdir()):
        for cluster in list(taskforce.iterdir()):
            if not cluster.name.isdigit() or not is_over(ClusterId(int(cluster.name))):
                continue
            if _newest(cluster) < before:
                shutil.rmtree(cluster, ignore_errors=True)
        if not any(taskforce.iterdir()):
            taskforce.rmdir()
    gone: set[ClusterId] = set()
    for path in log_paths(folder / "logs"):
        if path.stat().st_mtime < before:
            clusters = _clusters_of(path)
            if all(map(is_over, clusters)):
                path.unlink()
                gone |= clusters
    return gone


def _newest(folder: Path) -> float:
    return max((path.stat().st_mtime for path in folder.iterdir()), default=folder.stat().st_mtime)


def _clusters_of(path: Path) -> set[ClusterId]:
    return {
        event.cluster for event in LogFile(path).read() if event.kind is EventKind.CLUSTER_SUBMIT
    }
