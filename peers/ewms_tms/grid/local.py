"""The local adapter: this machine's processes as a pool, behind as many schedds as are asked for.

Guarantees that workers outlive the TMS and are adopted by the next one, and that one loop alone
starts workers, woken by what happens: a submission, the end of a worker. Nothing polls. Workers are
left running when the loop is cancelled.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, TypeVar

import psutil
import structlog

from ewms_rpc.backoff import Backoff
from ewms_tms.durable_files import write_whole
from ewms_tms.grid import (
    Capacity,
    GridUnavailable,
    WorkerLimits,
)
from ewms_tms.grid.local_pool import Pool, WorkerKey
from ewms_tms.grid.local_schedd import LocalSchedd
from ewms_tms.grid.local_worker import LocalWorker
from ewms_tms.job_events import ClusterId, ProcId

__all__ = ["LocalMachine"]

_Result = TypeVar("_Result")

log = structlog.get_logger(__name__)


class LocalMachine:
    """The pool, and the loop that gives its slots out.

    Parameters
    ----------
    folder
        Where the schedds keep everything; nobody else uses it.
    schedds
        Names of the schedds that share the pool.
    n_slots
        How many cores of workers may be in use at once.
    command
        The pilot's command line.
    """

    def __init__(
        self, folder: Path, schedds: Sequence[str], n_slots: int, command: tuple[str, ...]
    ) -> None:
        self.pool = Pool(
            n_slots=n_slots,
            memory_bytes=psutil.virtual_memory().total,
            n_cores=psutil.cpu_count() or 1,
        )
        self.schedds = {
            name: LocalSchedd(name, folder / "schedds" / name, command) for name in schedds
        }
        self._counter = folder / "cluster_id"
        self._lock = asyncio.Lock()
        self._wake = asyncio.Event()
        self._has_changed = asyncio.Condition()
        self._ended: dict[str, list[WorkerKey]] = {name: [] for name in schedds}
        self._is_loaded = asyncio.Event()

    async def run(self) -> None:
        """Adopt what runs, then start workers as there is room, until cancelled.

        When the disk fails everything is read from it again, as after a restart.
        """
        backoff = Backoff()
        while True:
            try:
                self._watch(await self._alone(self._load))
                self._is_loaded.set()
                await self._give_out_slots(backoff)
            except OSError as error:
                log.error("the local pool's disk failed", error=str(error))
                for schedd in self.schedds.values():
                    for worker in schedd.workers.values():
                        asyncio.get_running_loop().remove_reader(worker.descriptor)
                await backoff.wait()

    async def _give_out_slots(self, backoff: Backoff) -> NoReturn:
        self._wake.set()
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._watch(await self._alone(self._step))
            backoff.reset()
            self._wake_when_unblocked()
            async with self._has_changed:
                self._has_changed.notify_all()

    async def do(self, action: Callable[[], _Result]) -> _Result:
        """Do something with a schedd, alone, in a thread.

        Raises
        ------
        GridUnavailable
            The disk failed.
        """
        await self._is_loaded.wait()
        try:
            return await self._alone(action)
        except OSError as error:
            raise GridUnavailable(f"the local schedd's disk failed: {error}") from error
        finally:
            self._wake.set()

    async def _alone(self, action: Callable[[], _Result]) -> _Result:
        async with self._lock:
            # A thread cannot be cancelled: the lock is kept until it has ended.
            doing = asyncio.ensure_future(asyncio.to_thread(action))
            try:
                return await asyncio.shield(doing)
            except asyncio.CancelledError:
                await asyncio.wait([doing])
                raise

    def next_cluster_id(self) -> ClusterId:
        """A number that no cluster of this folder ever had. In a thread, by way of `do`."""
        last = int(self._counter.read_text()) if self._counter.exists() else 0
        write_whole(self._counter, str(last + 1).encode())
        return ClusterId(last + 1)

    def capacity(self, schedd: LocalSchedd) -> Capacity:
        """The pool's room, and a schedd's own workers."""
        pool = self.pool
        return Capacity(
            total_slots=pool.n_slots,
            free_slots=pool.free_slots,
            total_cores=pool.n_cores,
            free_cores=max(0, pool.n_cores - pool.used_cores),
            total_memory_bytes=pool.memory_bytes,
            free_memory_bytes=max(0, pool.memory_bytes - pool.used_memory_bytes),
            n_idle_workers=sum(cluster.n_idle for cluster in schedd.queue.clusters.values()),
            n_running_workers=len(schedd.workers),
        )

    async def changed_capacity(self, schedd: LocalSchedd, before: Capacity | None) -> Capacity:
        """The capacity, as soon as it is another one."""
        await self._is_loaded.wait()
        async with self._has_changed:
            await self._has_changed.wait_for(lambda: self.capacity(schedd) != before)
            return self.capacity(schedd)

    def _load(self) -> list[tuple[LocalSchedd, WorkerKey, LocalWorker]]:
        adopted = []
        self.pool.clear()
        for schedd in self.schedds.values():
            self._ended[schedd.name] = []
            schedd.load()
            for key, worker in schedd.workers.items():
                self.pool.take(key, schedd.queue.clusters[key[0]].spec.limits)
                adopted.append((schedd, key, worker))
            for cluster_id, cluster in schedd.queue.clusters.items():
                lack = self.pool.lack(cluster.spec.limits)
                if lack is not None:
                    # Taken in when there were more slots; it waits for them to come back.
                    log.warning("a cluster cannot run", cluster=cluster_id, reason=lack)
        if adopted:
            log.info("adopted workers", n=len(adopted))
        return adopted

    def _step(self) -> list[tuple[LocalSchedd, WorkerKey, LocalWorker]]:
        for schedd in self.schedds.values():
            ended, self._ended[schedd.name] = self._ended[schedd.name], []
            if ended:
                for key in ended:
                    self.pool.give_back(key)
                schedd.settle(ended)
        return self._fill()

    def _fill(self) -> list[tuple[LocalSchedd, WorkerKey, LocalWorker]]:
        now = time.monotonic()
        owners: dict[ClusterId, LocalSchedd] = {}
        waiting: dict[ClusterId, WorkerLimits] = {}
        for schedd in self.schedds.values():
            for cluster_id, cluster in schedd.queue.clusters.items():
                if cluster.waiting and cluster.blocked_until <= now:
                    owners[cluster_id] = schedd
                    waiting[cluster_id] = cluster.spec.limits

        def next_proc(cluster_id: ClusterId) -> ProcId | None:
            return owners[cluster_id].queue.clusters[cluster_id].next_proc()

        started = []
        for key in self.pool.allot(waiting, next_proc):
            worker = owners[key[0]].start(key)
            if worker is None:
                self.pool.give_back(key)
            else:
                started.append((owners[key[0]], key, worker))
        return started

    def _watch(self, workers: Sequence[tuple[LocalSchedd, WorkerKey, LocalWorker]]) -> None:
        loop = asyncio.get_running_loop()
        for schedd, key, worker in workers:
            loop.add_reader(worker.descriptor, self._note_end, schedd, key, worker)

    def _note_end(self, schedd: LocalSchedd, key: WorkerKey, worker: LocalWorker) -> None:
        asyncio.get_running_loop().remove_reader(worker.descriptor)
        self._ended[schedd.name].append(key)
        self._wake.set()

    def _wake_when_unblocked(self) -> None:
        now = time.monotonic()
        due = [
            cluster.blocked_until
            for schedd in self.schedds.values()
            for cluster in schedd.queue.clusters.values()
            if cluster.blocked_until > now
        ]
        if due:
            asyncio.get_running_loop().call_later(min(due) - now, self._wake.set)
