"""Retirement: stops what is left of tasks that are done, and has the queues of settled workflows
released.
"""

from __future__ import annotations

from typing import Final

from wms_grpc.domain.errors import PeerUnavailable
from wms_grpc.domain.topics import RETIREMENT
from wms_grpc.engine.loops import reconcile
from wms_grpc.engine.mqs import Mqs
from wms_grpc.engine.wakeups import Wakeups
from wms_grpc.storage import lifecycle, work
from wms_grpc.storage.store import Store

__all__ = ["run_retirement"]

_MOST: Final = 100


async def run_retirement(store: Store, mqs: Mqs, wakeups: Wakeups) -> None:
    """Retire for ever."""

    async def step() -> float | None:
        while tasks := await work.tasks_to_stop(store.db, _MOST):
            await lifecycle.stop_taskforces(store, tasks)
        while workflow_ids := await work.claim_releases(store.db, _MOST):
            try:
                for workflow_id in workflow_ids:
                    await mqs.release_queues(workflow_id)
                    await work.released(store, workflow_id)
            except PeerUnavailable:
                await work.unclaim_releases(store.db, workflow_ids)
                raise
        due = await work.next_due(store.db)
        waits = [wait.total_seconds() for wait in (due.release, due.stop) if wait is not None]
        return min(waits, default=None)

    await reconcile("retirement", RETIREMENT, wakeups, step)
