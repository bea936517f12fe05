"""The local adapter's slots and memory, and whose turn it is for them. Pure: it starts nothing.

Guarantees that no more workers run than there are slots, that what they asked for never exceeds
the machine's memory, and that the clusters with waiting workers get slots in turn, whatever their
sizes. A worker whose memory is not free lets others pass, and keeps its turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ewms_tms.grid import WorkerLimits
from ewms_tms.job_events import ClusterId, ProcId

__all__ = ["Pool", "WorkerKey"]

WorkerKey = tuple[ClusterId, ProcId]


@dataclass(slots=True)
class Pool:
    """One machine's room. Memory in bytes."""

    n_slots: int
    memory_bytes: int
    n_cores: int
    taken: dict[WorkerKey, WorkerLimits] = field(default_factory=dict)
    used_memory_bytes: int = 0
    used_cores: int = 0
    _turns: dict[ClusterId, None] = field(default_factory=dict)

    @property
    def free_slots(self) -> int:
        """Slots that nobody uses; none while adopted workers take more than there are."""
        return max(0, self.n_slots - len(self.taken))

    def clear(self) -> None:
        """Nothing runs."""
        self.taken.clear()
        self.used_memory_bytes = self.used_cores = 0

    def take(self, key: WorkerKey, limits: WorkerLimits) -> None:
        """A worker runs, whether there was room for it or not."""
        if key not in self.taken:
            self.taken[key] = limits
            self.used_memory_bytes += limits.memory_bytes
            self.used_cores += limits.n_cores

    def give_back(self, key: WorkerKey) -> None:
        """A worker has ended."""
        limits = self.taken.pop(key, None)
        if limits is not None:
            self.used_memory_bytes -= limits.memory_bytes
            self.used_cores -= limits.n_cores

    def allot(
        self,
        waiting: Mapping[ClusterId, WorkerLimits],
        next_proc: Callable[[ClusterId], ProcId | None],
    ) -> list[WorkerKey]:
        """Give what is free to the clusters that wait, in turn.

        Parameters
        ----------
        waiting
            Clusters with waiting workers, and what each worker of them asks for.
        next_proc
            Takes a cluster's next waiting proc; None when it has no more.

        Returns
        -------
        The procs to be started, their room taken already.
        """
        for gone in self._turns.keys() - waiting.keys():
            del self._turns[gone]
        self._turns.update(
            dict.fromkeys(cluster for cluster in waiting if cluster not in self._turns)
        )
        started: list[WorkerKey] = []
        queue = list(self._turns)
        while queue and self.free_slots:
            again: list[ClusterId] = []
            for cluster in queue:
                limits = waiting[cluster]
                if not self.free_slots or not self._fits(limits):
                    continue
                proc = next_proc(cluster)
                if proc is None:
                    continue
                self.take((cluster, proc), limits)
                started.append((cluster, proc))
                again.append(cluster)
                del self._turns[cluster]
                self._turns[cluster] = None
            queue = again
        return started

    def _fits(self, limits: WorkerLimits) -> bool:
        return self.used_memory_bytes + limits.memory_bytes <= self.memory_bytes
