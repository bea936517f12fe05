"""The clusters that an agent answers for, and what of them the WMS has not heard yet.

Guarantees that a cluster's statuses are not told before its submission is (the WMS would not know
it), that a change is kept until it is answered, and that a cluster is forgotten once its end is.
In memory: made anew from the logs after a restart.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from itertools import islice

from ewms_tms.grid import Cluster, Observation, TaskforceUuid
from ewms_tms.job_events import ClusterId, EventKind, JobEvent
from ewms_tms.statuses import ClusterStatus
from ewms_tms.submission_notes import SubmissionNotes

__all__ = ["ClusterBook"]


class ClusterBook:
    """Clusters by id and by taskforce.

    Parameters
    ----------
    finished
        Clusters whose end the WMS has heard of: what the logs say of them is passed over.
    """

    def __init__(self, finished: Iterable[ClusterId]) -> None:
        self.is_caught_up = asyncio.Event()
        self.has_news = asyncio.Event()
        self._finished = set(finished)
        self._clusters: dict[ClusterId, ClusterStatus] = {}
        self._of_taskforce: dict[TaskforceUuid, list[ClusterId]] = {}
        self._announced: set[ClusterId] = set()
        self._ended: dict[ClusterId, float] = {}
        # Since when there has been something to tell, oldest first.
        self._changed: dict[ClusterId, float] = {}
        self._telling_since: float | None = None

    def observe(self, observation: Observation) -> None:
        """Take events into account."""
        for event in observation.events:
            self._apply(event, observation.log_path)
        if observation.is_caught_up:
            self.is_caught_up.set()

    def add(self, cluster: Cluster) -> None:
        """A cluster was submitted; the log may have said so already."""
        cluster_id = cluster.cluster_id
        if cluster_id not in self._clusters and cluster_id not in self._finished:
            self._clusters[cluster_id] = ClusterStatus(cluster)
            self._of_taskforce.setdefault(cluster.taskforce, []).append(cluster_id)

    def of_taskforce(self, taskforce: TaskforceUuid) -> list[Cluster]:
        """A taskforce's clusters, oldest first; one, but for a fault."""
        ids = self._of_taskforce.get(taskforce, ())
        return [self._clusters[cluster_id].cluster for cluster_id in ids]

    def __contains__(self, cluster_id: ClusterId) -> bool:
        return cluster_id in self._clusters

    def unannounced(self) -> list[Cluster]:
        """Clusters whose submission the WMS has not answered."""
        return [
            status.cluster
            for cluster_id, status in self._clusters.items()
            if cluster_id not in self._announced
        ]

    def announced(self) -> list[Cluster]:
        """Clusters that the WMS knows of, and whose end no log has told."""
        return [
            self._clusters[cluster_id].cluster
            for cluster_id in self._announced
            if self._clusters[cluster_id].complete_time is None
        ]

    def announce(self, cluster_id: ClusterId) -> None:
        """The WMS knows of the submission: it can be told the rest."""
        if cluster_id in self._clusters:
            self._announced.add(cluster_id)
            self._note_change(cluster_id)

    def take_changed(self, limit: int) -> list[ClusterStatus]:
        """Clusters whose statuses have to be told; give those back that were not heard."""
        taken = list(islice(self._changed, limit))
        self._telling_since = next(iter(self._changed.values()), None)
        for cluster_id in taken:
            del self._changed[cluster_id]
        return [self._clusters[cluster_id] for cluster_id in taken]

    def give_back(self, statuses: Iterable[ClusterStatus]) -> None:
        """They were not heard."""
        for status in statuses:
            if status.cluster.cluster_id in self._clusters:
                self._note_change(status.cluster.cluster_id)

    def completed(self, limit: int) -> list[ClusterStatus]:
        """Clusters that have left the queue, with nothing else left to tell."""
        told = (cluster_id for cluster_id in self._ended if cluster_id not in self._changed)
        return [self._clusters[cluster_id] for cluster_id in islice(told, limit)]

    def finish(self, cluster_id: ClusterId) -> None:
        """The WMS has heard of the end."""
        self._finished.add(cluster_id)
        self._announced.discard(cluster_id)
        self._ended.pop(cluster_id, None)
        self._changed.pop(cluster_id, None)
        status = self._clusters.pop(cluster_id, None)
        if status is not None:
            ids = self._of_taskforce[status.cluster.taskforce]
            ids.remove(cluster_id)
            if not ids:
                del self._of_taskforce[status.cluster.taskforce]

    @property
    def n_clusters(self) -> int:
        """Clusters whose end the WMS has not heard of."""
        return len(self._clusters)

    @property
    def lag_seconds(self) -> float:
        """For how long the oldest of what is to be told has waited; 0 when all is told."""
        oldest = [
            next(iter(waiting.values())) for waiting in (self._changed, self._ended) if waiting
        ]
        if self._telling_since is not None:
            oldest.append(self._telling_since)
        return time.monotonic() - min(oldest) if oldest else 0.0

    def count_workers(self) -> Counter[str]:
        """Workers by their status in the schedd, whatever they are held for."""
        counts: Counter[str] = Counter()
        for status in self._clusters.values():
            for name, pilots in status.compound_statuses().items():
                counts[name.partition(":")[0]] += sum(pilots.values())
        return counts

    def _apply(self, event: JobEvent, log_path: str) -> None:
        if event.kind is EventKind.CLUSTER_SUBMIT:
            notes = SubmissionNotes.parse(event.text)
            if notes is not None:
                self.add(notes.cluster(event.cluster, event.time, log_path))
            return
        status = self._clusters.get(event.cluster)
        if status is not None and status.apply(event) and event.cluster in self._announced:
            self._note_change(event.cluster)

    def _note_change(self, cluster_id: ClusterId) -> None:
        now = time.monotonic()
        self._changed.setdefault(cluster_id, now)
        if self._clusters[cluster_id].complete_time is not None:
            self._ended.setdefault(cluster_id, now)
        self.has_news.set()
