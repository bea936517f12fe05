"""The adapters that the suite holds to the interfaces, each behind one way of using it."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    aclosing,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from dataclasses import dataclass, replace
from pathlib import Path

from condor_pool import RealPool, real_pool

from ewms_tms.grid import (
    Cluster,
    Dispatcher,
    Grid,
    Submission,
    TaskforceUuid,
    UnknownCluster,
    WorkerLimits,
)
from ewms_tms.grid.condor import CondorOptions, CondorPool
from ewms_tms.grid.condor_calls import CondorCalls
from ewms_tms.grid.local import LocalMachine
from ewms_tms.grid.local_grids import open_local_grids
from ewms_tms.job_events import ClusterId, EventKind, JobEvent

__all__ = ["ADAPTERS", "Adapter", "Place", "Watched", "new_taskforce", "submission"]

# A pilot that does what its env file says, so that every adapter must bring that file.
_PILOT = (
    "import json, os; script = json.load(open(os.environ['EWMS_PILOT_ENV_FILE']))['SCRIPT'];"
    "os.execvp('sh', ['sh', '-c', script])"
)


@dataclass(frozen=True)
class Place:
    """Where an adapter works: a folder that its workers see, too."""

    folder: Path
    pool: RealPool | None = None


@dataclass(frozen=True)
class Adapter:
    """How an adapter is opened; skips the test where it cannot be."""

    place: Callable[[Path], AbstractContextManager[Place]]
    open: Callable[[Place], AbstractAsyncContextManager[Grid]]


@contextmanager
def any_place(folder: Path) -> Iterator[Place]:
    """A folder of this machine will do."""
    yield Place(folder)


@contextmanager
def pool_place(_folder: Path) -> Iterator[Place]:
    """A folder of the pool's, as its account."""
    with real_pool() as pool, pool.as_account():
        yield Place(pool.place, pool)


@asynccontextmanager
async def local_grid(place: Place) -> AsyncIterator[Grid]:
    """The local adapter, on a folder that may have been used before."""
    folder = place.folder / "grid"
    machine = LocalMachine(folder, ["here"], 3, (sys.executable, "-c", _PILOT))
    running = asyncio.create_task(machine.run())
    (grid,) = open_local_grids(machine)
    try:
        yield grid
    finally:
        for cluster_id in list(machine.schedds["here"].queue.clusters):
            with suppress(UnknownCluster):
                await grid.dispatcher.remove(cluster_id, "the test is over")
        running.cancel()


@asynccontextmanager
async def condor_grid(place: Place) -> AsyncIterator[Grid]:
    """The HTCondor adapter, on a real pool."""
    pool = place.pool
    assert pool is not None
    pilot = pool.script("pilot", f'exec python3 -c "{_PILOT}"')
    calls = CondorCalls(pool.environment)
    options = CondorOptions((str(pilot),), input_roots=(pool.place,), room_interval=1.0)
    condor = CondorPool(place.folder / "grid", {"here": pool.schedd}, calls, options)
    running = asyncio.create_task(condor.run())
    (grid,) = condor.grids
    dispatcher = CleansUp(grid.dispatcher)
    try:
        yield replace(grid, dispatcher=dispatcher)
    finally:
        await dispatcher.remove_all()
        running.cancel()
        await asyncio.wait([running])


ADAPTERS = {
    "local": Adapter(any_place, local_grid),
    "condor": Adapter(pool_place, condor_grid),
}


def new_taskforce() -> TaskforceUuid:
    """An id that no other test has: a pool's queue is one for all of them."""
    return TaskforceUuid(f"TF-{uuid.uuid4().hex[:12]}")


def submission(
    script: str, n_workers: int = 1, taskforce: TaskforceUuid | None = None, attempt: int = 1
) -> Submission:
    """Workers that run a shell script."""
    return Submission(
        taskforce=taskforce or new_taskforce(),
        attempt=attempt,
        n_workers=n_workers,
        limits=WorkerLimits(1, 64 << 20, 64 << 20, 600, 0),
        keep_output=False,
        input_files=(),
        description={"universe": "container"},
        environment={"SCRIPT": script},
    )


class CleansUp:
    """A dispatcher that leaves nothing of its clusters in the queue of others."""

    def __init__(self, inner: Dispatcher) -> None:
        self._inner = inner
        self._submitted: list[ClusterId] = []
        for name in ("find", "remove", "hold", "release"):
            setattr(self, name, getattr(inner, name))

    async def submit(self, submission: Submission) -> Cluster:
        cluster = await self._inner.submit(submission)
        self._submitted.append(cluster.cluster_id)
        return cluster

    async def remove_all(self) -> None:
        for cluster_id in self._submitted:
            with suppress(UnknownCluster):
                await self._inner.remove(cluster_id, "the test is over")


class Watched:
    """What an observer has told so far."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._changed = asyncio.Condition()
        self.events: list[JobEvent] = []
        self.is_caught_up = False

    async def follow(self) -> None:
        """Until cancelled."""
        async with aclosing(self._grid.observer.follow()) as observations:
            async for observation in observations:
                # Nothing is new before all that is old has been told.
                assert observation.is_caught_up >= self.is_caught_up
                self.events += observation.events
                self.is_caught_up = observation.is_caught_up
                async with self._changed:
                    self._changed.notify_all()

    def kinds(self, cluster_id: ClusterId, proc: int | None = None) -> list[EventKind]:
        """What happened to a cluster, or to one proc of it."""
        return [
            event.kind
            for event in self.events
            if event.cluster == cluster_id and proc in (None, event.proc)
        ]

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something of what is told holds."""
        async with asyncio.timeout(30), self._changed:
            await self._changed.wait_for(holds)

    async def has_left(self, cluster_id: ClusterId) -> None:
        """Wait until a cluster has left the queue."""
        await self.until(lambda: EventKind.CLUSTER_REMOVE in self.kinds(cluster_id))
