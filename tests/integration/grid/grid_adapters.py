"""The adapters that the suite holds to the interfaces, each behind one way of using it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from pathlib import Path

from ewms_tms.grid import Grid, Submission, TaskforceUuid, UnknownCluster, WorkerLimits
from ewms_tms.grid.local import LocalMachine, open_local_grids
from ewms_tms.job_events import ClusterId, EventKind, JobEvent

__all__ = ["ADAPTERS", "Watched", "submission"]

# A pilot that does what its env file says, so that every adapter must bring that file.
_PILOT = (
    "import json, os; script = json.load(open(os.environ['EWMS_PILOT_ENV_FILE']))['SCRIPT'];"
    "os.execvp('sh', ['sh', '-c', script])"
)


@asynccontextmanager
async def local_grid(folder: Path) -> AsyncIterator[Grid]:
    """The local adapter, on a folder that may have been used before."""
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


ADAPTERS: dict[str, Callable[[Path], AbstractAsyncContextManager[Grid]]] = {"local": local_grid}


def submission(
    script: str, n_workers: int = 1, taskforce: str = "TF-1", attempt: int = 1
) -> Submission:
    """Workers that run a shell script."""
    return Submission(
        taskforce=TaskforceUuid(taskforce),
        attempt=attempt,
        n_workers=n_workers,
        limits=WorkerLimits(1, 64 << 20, 64 << 20, 600, 0),
        keep_output=False,
        input_files=(),
        description={"universe": "container"},
        environment={"SCRIPT": script},
    )


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
