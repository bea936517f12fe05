"""One schedd of the local adapter: its queue of clusters, kept in its job event logs and folders.

Guarantees that the log is the truth: a cluster is in the queue once its submission event is on the
disk, and each proc is what its events say; all that is wanted of a cluster (removed, paused) is on
the disk too, and brought about again after every restart. While a worker lives its starter alone
writes about its proc; who holds no lock of the proc writes nothing. Blocking, and for one thread at
a time: `local.LocalMachine` sees to that.
"""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Iterable
from pathlib import Path

import structlog

from ewms_tms import event_text
from ewms_tms.durable_files import sync_folder, write_whole
from ewms_tms.grid import Cluster, Submission, UnknownCluster
from ewms_tms.grid.local_cluster import ClusterSpec, LocalCluster
from ewms_tms.grid.local_pool import WorkerKey
from ewms_tms.grid.local_queue import LocalQueue
from ewms_tms.grid.local_worker import LocalWorker, adopt_worker, clear_away, start_worker
from ewms_tms.job_events import ClusterId, HoldCode, ProcId
from ewms_tms.process_tree import read_text
from ewms_tms.submission_notes import SubmissionNotes

__all__ = ["MAX_STARTS", "LocalSchedd"]

# As our submissions to HTCondor say: a worker that a signal ended so often is held.
MAX_STARTS = 5
_LONGEST_BLOCK_SECONDS = 60.0

log = structlog.get_logger(__name__)


class LocalSchedd:
    """A queue.

    Parameters
    ----------
    name
        The schedd's name.
    folder
        Where it keeps everything; made if it is not there.
    command
        The pilot's command line.
    """

    def __init__(self, name: str, folder: Path, command: tuple[str, ...]) -> None:
        self.name = name
        self.queue = LocalQueue(folder)
        self.workers: dict[WorkerKey, LocalWorker] = {}
        self._command = command

    def load(self) -> None:
        """Read the queue from the disk, and adopt the workers that live."""
        for known in self.workers.values():
            known.let_go()
        self.workers = {}
        self.queue.load()
        for cluster in self.queue.clusters.values():
            for proc in cluster.running | cluster.idle:
                worker = adopt_worker(cluster.folder, proc)
                if worker is not None:
                    cluster.launched.add(proc)
                    self.workers[cluster.spec.cluster_id, proc] = worker
        # Only now: a worker may have written its end after the first reading.
        self.queue.read()
        for cluster in list(self.queue.clusters.values()):
            self._evict(cluster, cluster.running - cluster.launched)
        self.settle([])

    def submit(self, cluster_id: ClusterId, submission: Submission) -> Cluster:
        """Put a cluster into the queue; its folder may hold its input files already."""
        folder = self.queue.folder_of(submission.taskforce, cluster_id)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self.queue.log_of_today()
        limits = submission.limits
        spec = ClusterSpec(
            cluster_id=cluster_id,
            n_workers=submission.n_workers,
            command=submission.job.argv if submission.job else self._command,
            environment=dict(submission.job.environment) if submission.job else None,
            log=str(path),
            keep_output=submission.keep_output,
            n_cores=limits.n_cores,
            memory_bytes=limits.memory_bytes,
            disk_bytes=limits.disk_bytes,
            max_runtime_seconds=limits.max_runtime_seconds,
            priority=limits.priority,
        )
        spec.write(folder)
        secrets = json.dumps(dict(submission.environment)).encode()
        write_whole(folder / "env.json", secrets, mode=0o600)
        for parent in (folder.parent, folder.parent.parent, path.parent):
            sync_folder(parent)
        notes = SubmissionNotes(submission.taskforce, submission.attempt, submission.n_workers)
        return self.queue.enter(cluster_id, notes, path)

    def remove(self, cluster_id: ClusterId, reason: str) -> None:
        """Have a cluster removed; its workers get their time to end."""
        cluster = self._cluster(cluster_id)
        if cluster.removal is None:
            write_whole(cluster.folder / "removal", reason.encode(errors="replace"))
            cluster.removal = reason
            self._reconcile([cluster])

    def hold(self, cluster_id: ClusterId, reason: str) -> None:
        """Hold what waits and runs of a cluster."""
        cluster = self._cluster(cluster_id)
        if not cluster.is_paused:
            write_whole(cluster.folder / "hold", reason.encode(errors="replace"))
            self.queue.tell(
                cluster, event_text.factory_paused(cluster_id, reason, HoldCode.USER_REQUEST)
            )
            self._reconcile([cluster])

    def release(self, cluster_id: ClusterId, reason: str) -> None:
        """Let what is held of a cluster wait for a slot again."""
        cluster = self._cluster(cluster_id)
        events = [event_text.released(cluster_id, proc, reason) for proc in sorted(cluster.held)]
        if cluster.is_paused:
            events.insert(0, event_text.factory_resumed(cluster_id))
        if events:
            self.queue.tell(cluster, *events)

    def start(self, key: WorkerKey) -> LocalWorker | None:
        """Start the worker of a proc that was launched; None if that did not work."""
        cluster_id, proc = key
        cluster = self.queue.clusters[cluster_id]
        cluster.executed.discard(proc)
        try:
            if proc >= cluster.n_materialized:
                self.queue.tell(
                    cluster, event_text.job_submitted(cluster_id, proc, self.queue.host)
                )
            worker = start_worker(cluster.folder, proc) or adopt_worker(cluster.folder, proc)
        except OSError as error:
            log.error("no worker could be started", cluster=cluster_id, proc=proc, error=str(error))
            worker = None
        if worker is None:
            cluster.launched.discard(proc)
            self._block(cluster)
            return None
        self.workers[key] = worker
        return worker

    def settle(self, ended: Iterable[WorkerKey]) -> None:
        """Take the end of workers into account, and bring about what is wanted of clusters."""
        ended = list(ended)
        for key in ended:
            self.workers.pop(key).bury()
        self.queue.read()
        touched: dict[ClusterId, LocalCluster] = {}
        for cluster_id, proc in ended:
            cluster = self.queue.clusters.get(cluster_id)
            if cluster is None:
                continue
            touched[cluster_id] = cluster
            cluster.launched.discard(proc)
            if proc in cluster.running:
                self._evict(cluster, {proc})
            elif proc in cluster.idle and proc not in cluster.executed:
                self._block(cluster)
        self._reconcile(touched.values() if ended else list(self.queue.clusters.values()))

    def _cluster(self, cluster_id: ClusterId) -> LocalCluster:
        self.queue.read()
        cluster = self.queue.clusters.get(cluster_id)
        if cluster is None:
            raise UnknownCluster(f"{self.name} has no cluster {cluster_id}")
        return cluster

    def _evict(self, cluster: LocalCluster, procs: set[ProcId]) -> None:
        """Say of workers that were killed, starter and all, that they run no more."""
        cluster_id = cluster.spec.cluster_id
        for proc in sorted(procs):
            clear_away(cluster.folder, proc)
            (cluster.folder / f"{proc}.env.json").unlink(missing_ok=True)
            self.queue.tell(
                cluster, event_text.evicted(cluster_id, proc, "The worker was killed.", 9)
            )

    def _block(self, cluster: LocalCluster) -> None:
        """After a start that came to nothing: not at once again, each time for longer."""
        cluster.n_failed_starts += 1
        wait = min(2.0 ** (cluster.n_failed_starts - 1), _LONGEST_BLOCK_SECONDS)
        cluster.blocked_until = time.monotonic() + wait
        log.warning("a worker did not start", cluster=cluster.spec.cluster_id, again_in=wait)

    def _reconcile(self, clusters: Iterable[LocalCluster]) -> None:
        for cluster in clusters:
            events = self._wanted_events(cluster)
            if events:
                self.queue.tell(cluster, *events)
            if cluster.is_over:
                over = event_text.cluster_removed(
                    cluster.spec.cluster_id, cluster.n_materialized, cluster.spec.n_workers
                )
                self.queue.tell(cluster, over)

    def _wanted_events(self, cluster: LocalCluster) -> list[str]:
        """What has to be said of procs without a worker; those with one are told by signals."""
        cluster_id = cluster.spec.cluster_id
        if cluster.removal is not None:
            self._signal(cluster, signal.SIGTERM)
            left = sorted((cluster.idle | cluster.held) - cluster.launched)
            return [event_text.aborted(cluster_id, proc, cluster.removal) for proc in left]
        waiting = sorted(cluster.idle - cluster.launched)
        if cluster.is_paused:
            self._signal(cluster, signal.SIGUSR1)
            reason = read_text(str(cluster.folder / "hold")) or ""
            code = HoldCode.USER_REQUEST
            return [event_text.held(cluster_id, proc, reason, code) for proc in waiting]
        reason = f"The job was started {MAX_STARTS} times and each time ended by a signal."
        return [
            event_text.held(cluster_id, proc, reason, HoldCode.JOB_POLICY)
            for proc in waiting
            if cluster.n_starts.get(proc, 0) >= MAX_STARTS
        ]

    def _signal(self, cluster: LocalCluster, number: signal.Signals) -> None:
        for proc in cluster.launched:
            worker = self.workers.get((cluster.spec.cluster_id, proc))
            if worker is not None:
                worker.tell(number)

    def forget(self, folder: Path) -> None:
        """Delete a cluster's folder whose submission came to nothing."""
        shutil.rmtree(folder, ignore_errors=True)
