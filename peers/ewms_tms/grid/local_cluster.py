"""One cluster of the local adapter, as its events in the log say it is.

Guarantees that the same events give the same state, however often some of them are read. What is
not in the log (which worker is being started right now) is `launched`, and is found out again from
the locks after a restart. Pure but for reading the cluster's own description.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ewms_tms.grid import WorkerLimits
from ewms_tms.job_events import ClusterId, EventKind, JobEvent, ProcId

__all__ = ["ClusterSpec", "LocalCluster"]

_ENDS = (EventKind.TERMINATED, EventKind.ABORTED)
_SPEC = "cluster.json"


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """What the cluster's workers are; `cluster.json` in its folder, which the starter reads.

    `environment` is None where they are pilots, which have theirs in a file of their own.
    """

    cluster_id: ClusterId
    n_workers: int
    command: tuple[str, ...]
    log: str
    keep_output: bool
    n_cores: int
    memory_bytes: int
    disk_bytes: int
    max_runtime_seconds: int
    priority: int
    environment: Mapping[str, str] | None = None

    @property
    def limits(self) -> WorkerLimits:
        """What one worker asks for."""
        return WorkerLimits(
            n_cores=self.n_cores,
            memory_bytes=self.memory_bytes,
            disk_bytes=self.disk_bytes,
            max_runtime_seconds=self.max_runtime_seconds,
            priority=self.priority,
        )

    def write(self, folder: Path) -> None:
        """Put it into the cluster's folder."""
        (folder / _SPEC).write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, folder: Path) -> ClusterSpec:
        """Read it from the cluster's folder. Raises OSError, or ValueError when it is torn."""
        fields = json.loads((folder / _SPEC).read_text())
        return cls(**{**fields, "command": tuple(fields["command"])})


@dataclass(slots=True)
class LocalCluster:
    """A cluster in the queue. Procs from `n_materialized` on have not been seen: they wait.

    `launched` are the procs that have a starter, `executed` those whose last starter came so far
    as to say so.
    """

    spec: ClusterSpec
    folder: Path
    n_materialized: int = 0
    idle: set[ProcId] = field(default_factory=set)
    running: set[ProcId] = field(default_factory=set)
    held: set[ProcId] = field(default_factory=set)
    ended: set[ProcId] = field(default_factory=set)
    launched: set[ProcId] = field(default_factory=set)
    executed: set[ProcId] = field(default_factory=set)
    n_starts: dict[ProcId, int] = field(default_factory=dict)
    is_paused: bool = False
    removal: str | None = None
    n_failed_starts: int = 0
    blocked_until: float = 0.0

    @property
    def waiting(self) -> bool:
        """Whether a worker of it could be started."""
        if self.is_paused or self.removal is not None:
            return False
        return self._n_seen < self.spec.n_workers or any(
            proc not in self.launched for proc in self.idle
        )

    @property
    def n_idle(self) -> int:
        """Workers that wait, held ones not among them."""
        n_unseen = 0 if self.is_paused else self.spec.n_workers - self._n_seen
        return n_unseen + len(self.idle) - len(self.launched & self.idle)

    @property
    def is_over(self) -> bool:
        """Nothing of it runs, and nothing will."""
        if self.launched or self.idle or self.running or self.held:
            return False
        return self.removal is not None or len(self.ended) >= self.spec.n_workers

    def next_proc(self) -> ProcId | None:
        """The next proc to start, the lowest first: job priority falls with the number."""
        if not self.waiting:
            return None
        unseen = ProcId(self._n_seen)
        proc = min((proc for proc in self.idle if proc not in self.launched), default=unseen)
        self.launched.add(proc)
        return proc

    @property
    def _n_seen(self) -> int:
        """Procs that are in the log, or are about to be."""
        return max(self.n_materialized, max(self.launched, default=-1) + 1)

    def apply(self, event: JobEvent) -> None:
        """Take an event of this cluster into account."""
        kind, proc = event.kind, event.proc
        if kind in (EventKind.FACTORY_PAUSED, EventKind.FACTORY_RESUMED):
            self.is_paused = kind is EventKind.FACTORY_PAUSED
        elif proc >= 0 and proc not in self.ended:
            self._apply_to_proc(kind, proc)

    def _apply_to_proc(self, kind: EventKind, proc: ProcId) -> None:
        # One whose own event did not come onto a full disk waits like any other.
        self.idle.update(map(ProcId, range(self.n_materialized, proc)))
        self.n_materialized = max(self.n_materialized, proc + 1)
        if kind in (EventKind.SUBMIT, EventKind.EVICTED, EventKind.RELEASED):
            self._move(proc, self.idle)
            if kind is EventKind.RELEASED:
                self.n_starts.pop(proc, None)
        elif kind is EventKind.EXECUTE:
            self._move(proc, self.running)
            self.executed.add(proc)
            self.n_starts[proc] = self.n_starts.get(proc, 0) + 1
        elif kind is EventKind.HELD:
            self._move(proc, self.held)
        elif kind in _ENDS:
            self._move(proc, self.ended)
            self.executed.discard(proc)
            self.n_starts.pop(proc, None)

    def _move(self, proc: ProcId, to: set[ProcId]) -> None:
        for procs in (self.idle, self.running, self.held):
            procs.discard(proc)
        to.add(proc)
