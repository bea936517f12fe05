"""Deletes what is over: clusters' folders and job event logs that nobody asks for any more.

Guarantees that a log stays as long as one of its clusters is not over, and everything for its time
since the last change; and, where there is an archive, that nothing is deleted that is not in there
as a whole. No secret is archived. Blocking: call it in a thread.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from ewms_tms.grid import TaskforceUuid
from ewms_tms.job_events import ClusterId, EventKind
from ewms_tms.log_file import LogFile, log_paths

__all__ = ["Retention", "expire"]

_SECRETS = "env.json"


@dataclass(frozen=True, slots=True)
class Retention:
    """For how long files are kept after their last change, and where they go then."""

    time: timedelta
    archive: Path | None = None


def expire(
    folder: Path,
    is_over: Callable[[ClusterId], bool],
    before: float,
    is_free: Callable[[TaskforceUuid], bool] = lambda _: False,
    archive: Path | None = None,
) -> set[ClusterId]:
    """Delete what has not changed for long.

    Parameters
    ----------
    folder
        A schedd's, with `logs` and `taskforces` in it.
    is_over
        Whether a cluster has ended and its end is known, or it never was.
    before
        Seconds since the epoch: what changed later stays.
    is_free
        Whether there is no cluster of a taskforce, and none is being submitted: for folders that
        are named after an attempt, not after a cluster.
    archive
        Where everything is packed into before it is deleted.

    Returns
    -------
    Clusters of which no log tells any more.
    """
    for taskforce in list((folder / "taskforces").iterdir()):
        for cluster in list(taskforce.iterdir()):
            if cluster.name.isdigit():
                is_done = is_over(ClusterId(int(cluster.name)))
            else:
                is_done = is_free(TaskforceUuid(taskforce.name))
            if is_done and _newest(cluster) < before:
                _pack(cluster, f"{taskforce.name}.{cluster.name}", archive)
                shutil.rmtree(cluster, ignore_errors=True)
        if not any(taskforce.iterdir()):
            taskforce.rmdir()
    gone: set[ClusterId] = set()
    for path in log_paths(folder / "logs"):
        if path.stat().st_mtime < before:
            clusters = _clusters_of(path)
            if all(map(is_over, clusters)):
                _pack(path, path.name, archive)
                path.unlink()
                gone |= clusters
    return gone


def _pack(path: Path, name: str, archive: Path | None) -> None:
    """Put a file or folder into an archive of its own. Raises OSError when it does not fit."""
    if archive is None:
        return
    archive.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = archive / f".{name}.part"
    with part.open("wb") as file:
        with tarfile.open(fileobj=file, mode="w:gz") as tar:
            tar.add(path, arcname=name, filter=_without_secrets)
        file.flush()
        os.fsync(file.fileno())
    part.replace(archive / f"{name}.tar.gz")


def _without_secrets(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if entry.name.endswith(_SECRETS) else entry


def _newest(folder: Path) -> float:
    return max((path.stat().st_mtime for path in folder.iterdir()), default=folder.stat().st_mtime)


def _clusters_of(path: Path) -> set[ClusterId]:
    return {
        event.cluster for event in LogFile(path).read() if event.kind is EventKind.CLUSTER_SUBMIT
    }
