"""The local adapter's slots and memory, and whose turn it is for them. Pure: it starts nothing.

A worker takes a slot for each of its cores, as on a partitionable slot. Guarantees that no more are
taken than there are, that what workers asked for never exceeds the machine's memory, and that the
clusters with waiting workers get their room in turn, whatever their numbers of workers.

Whose turn it is and whose worker does not fit holds back all that come later, until it fits: else
narrow workers would take each slot that comes free, and a wide one would wait for ever. That costs
slots that stay empty meanwhile, at most until the workers that run have had their time
(`max_worker_runtime`). One that could not run on the empty machine holds nobody back.
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
        return max(0, self.n_slots - self.used_cores)

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
        while queue:
            again: list[ClusterId] = []
            for cluster in queue:
                limits = waiting[cluster]
                if self.lack(limits) is not None:
                    continue
                if not self._fits(limits):
                    return started
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

    def lack(self, limits: WorkerLimits) -> str | None:
        """Why such a worker could not run on the empty machine, in words; None if it could."""
        if limits.n_cores > self.n_slots:
            return (
                f"a worker asks for {limits.n_cores} cores, and this machine's pool has"
                f" {self.n_slots} slots, one for each core"
            )
        if limits.memory_bytes > self.memory_bytes:
            asked, there = (
                f"{size / (1 << 30):.1f} GiB" for size in (limits.memory_bytes, self.memory_bytes)
            )
            return f"a worker asks for {asked} of memory, and this machine has {there}"
        return None

    def _fits(self, limits: WorkerLimits) -> bool:
        return (
            self.used_cores + limits.n_cores <= self.n_slots
            and self.used_memory_bytes + limits.memory_bytes <= self.memory_bytes
        )
