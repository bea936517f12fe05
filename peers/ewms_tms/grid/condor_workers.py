"""How many workers of a schedd wait and run, by the events of its log. Pure.

Guarantees the same numbers however often events are read again. The schedd is never asked: it has
better things to do than to look through its queue, and does not count procs that it has not made.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ewms_tms.grid import TaskforceUuid
from ewms_tms.job_events import ClusterId, EventKind, JobEvent, ProcId
from ewms_tms.submission_notes import SubmissionNotes

__all__ = ["LivingCluster", "Workers"]

_IDLE_AFTER = frozenset(
    (
        EventKind.EVICTED, EventKind.SHADOW_EXCEPTION, EventKind.RECONNECT_FAILED,
        EventKind.RELEASED,
    )
)  # fmt: skip
_ENDS = frozenset((EventKind.TERMINATED, EventKind.ABORTED))


@dataclass(slots=True)
class LivingCluster:
    """A cluster in the queue. Procs that are in no set wait."""

    taskforce: TaskforceUuid
    attempt: int
    n_workers: int
    is_paused: bool = False
    running: set[ProcId] = field(default_factory=set)
    held: set[ProcId] = field(default_factory=set)
    ended: set[ProcId] = field(default_factory=set)

    def apply(self, event: JobEvent) -> None:
        """Take one of its events into account."""
        if event.kind in (EventKind.FACTORY_PAUSED, EventKind.FACTORY_RESUMED):
            self.is_paused = event.kind is EventKind.FACTORY_PAUSED
        elif event.proc in self.ended:
            return
        elif event.kind is EventKind.EXECUTE:
            self.running.add(event.proc)
            self.held.discard(event.proc)
        elif event.kind is EventKind.HELD:
            self.running.discard(event.proc)
            self.held.add(event.proc)
        elif event.kind in _IDLE_AFTER or event.kind in _ENDS:
            self.running.discard(event.proc)
            self.held.discard(event.proc)
            if event.kind in _ENDS:
                self.ended.add(event.proc)

    @property
    def n_idle(self) -> int:
        """Workers that wait for a slot."""
        rest = self.n_workers - len(self.running) - len(self.held) - len(self.ended)
        return 0 if self.is_paused else max(0, rest)


class Workers:
    """The workers of all clusters in the queue."""

    def __init__(self) -> None:
        self._clusters: dict[ClusterId, LivingCluster] = {}

    def clear(self) -> None:
        """The logs will be read again."""
        self._clusters.clear()

    def apply(self, events: Iterable[JobEvent]) -> list[LivingCluster]:
        """Take events into account; the clusters that have left the queue by them."""
        over = []
        for event in events:
            if event.kind is EventKind.CLUSTER_SUBMIT:
                notes = SubmissionNotes.parse(event.text)
                if notes is not None and event.cluster not in self._clusters:
                    self._clusters[event.cluster] = LivingCluster(
                        notes.taskforce, notes.attempt, notes.n_workers
                    )
            elif event.kind is EventKind.CLUSTER_REMOVE:
                gone = self._clusters.pop(event.cluster, None)
                if gone is not None:
                    over.append(gone)
            elif event.cluster in self._clusters:
                self._clusters[event.cluster].apply(event)
        return over

    @property
    def n_idle(self) -> int:
        """Workers that wait, those among them that the schedd has not made yet."""
        return sum(cluster.n_idle for cluster in self._clusters.values())

    @property
    def n_running(self) -> int:
        """Workers that run."""
        return sum(len(cluster.running) for cluster in self._clusters.values())
