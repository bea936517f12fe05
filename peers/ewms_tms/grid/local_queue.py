"""The queue of a local schedd, as its job event logs and its clusters' folders say it is.

Guarantees that a cluster is in the queue from the moment that its submission event is on the disk
until its removal event is; and that what is written is read back before it counts. A cluster whose
folder is gone cannot run, and is taken out when the queue is loaded. Blocking, and for one thread
at a time.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import structlog

from ewms_tms import event_text
from ewms_tms.grid import Cluster, TaskforceUuid
from ewms_tms.grid.local_cluster import ClusterSpec, LocalCluster
from ewms_tms.job_events import ClusterId, EventKind, JobEvent
from ewms_tms.log_file import LogFile, log_paths
from ewms_tms.process_tree import read_text
from ewms_tms.submission_log import find_submission, log_of_today
from ewms_tms.submission_notes import SubmissionNotes

__all__ = ["LocalQueue"]

log = structlog.get_logger(__name__)


class LocalQueue:
    """Clusters by id.

    Parameters
    ----------
    folder
        The schedd's; `logs` and `taskforces` are made in it.
    """

    def __init__(self, folder: Path) -> None:
        self.logs_folder = folder / "logs"
        self.taskforces_folder = folder / "taskforces"
        self.clusters: dict[ClusterId, LocalCluster] = {}
        self.host = f"<{os.uname().nodename}>"
        self._logs: dict[Path, LogFile] = {}
        self._without_folder: dict[ClusterId, str] = {}
        for path in (self.logs_folder, self.taskforces_folder):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)

    def load(self) -> None:
        """Read everything anew."""
        self.clusters, self._without_folder = {}, {}
        self._logs = {path: LogFile(path) for path in log_paths(self.logs_folder)}
        self.read()
        for cluster_id, path in self._without_folder.items():
            event_text.append(path, event_text.cluster_removed(cluster_id, 0, 0))
        living = {cluster.spec.log for cluster in self.clusters.values()}
        self._logs = {path: file for path, file in self._logs.items() if str(path) in living}

    def read(self) -> None:
        """Take into account what was written since the last time, by whomever."""
        for path, file in self._logs.items():
            for event in file.read():
                self._apply(event, path)

    def tell(self, cluster: LocalCluster, *events: str) -> None:
        """Write events of a cluster."""
        event_text.append(cluster.spec.log, *events)
        self.read()

    def log_of_today(self) -> Path:
        """Where a cluster that is submitted now has its events, all its life."""
        return log_of_today(self.logs_folder)

    def enter(self, cluster_id: ClusterId, notes: SubmissionNotes, path: Path) -> Cluster:
        """Put a cluster into the queue whose folder is complete."""
        event = event_text.cluster_submitted(cluster_id, self.host, str(notes))
        event_text.append(str(path), event, is_durable=True)
        self._logs.setdefault(path, LogFile(path))
        self.read()
        return notes.cluster(cluster_id, datetime.now(UTC), str(path))

    def find(self, taskforce: TaskforceUuid, attempt: int) -> Cluster | None:
        """The cluster that the logs have for an attempt, in the queue or no longer."""
        return find_submission(self.logs_folder, taskforce, attempt)

    def folder_of(self, taskforce: TaskforceUuid, cluster_id: ClusterId) -> Path:
        """A cluster's own folder."""
        return self.taskforces_folder / taskforce / str(cluster_id)

    def _apply(self, event: JobEvent, path: Path) -> None:
        if event.kind is EventKind.CLUSTER_SUBMIT:
            self._note_submission(event, path)
        elif event.kind is EventKind.CLUSTER_REMOVE:
            self._note_removal(event.cluster)
        elif event.cluster in self.clusters:
            self.clusters[event.cluster].apply(event)

    def _note_submission(self, event: JobEvent, path: Path) -> None:
        notes = SubmissionNotes.parse(event.text)
        if notes is None or event.cluster in self.clusters:
            return
        folder = self.folder_of(notes.taskforce, event.cluster)
        try:
            spec = ClusterSpec.read(folder)
        except (OSError, ValueError, TypeError) as error:
            log.info("a cluster without folder", cluster=event.cluster, error=str(error))
            self._without_folder[event.cluster] = str(path)
            return
        removal = read_text(str(folder / "removal"))
        self.clusters[event.cluster] = LocalCluster(spec, folder, removal=removal)

    def _note_removal(self, cluster_id: ClusterId) -> None:
        self._without_folder.pop(cluster_id, None)
        cluster = self.clusters.pop(cluster_id, None)
        if cluster is not None:
            for secret in cluster.folder.glob("*env.json"):
                secret.unlink(missing_ok=True)
