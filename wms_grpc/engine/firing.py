"""Firing: moves the tokens of nets, woken by what ends, begins and is signalled, and by timers.

Engines of any number share the work by nets: what one has locked, another passes over.
"""

from __future__ import annotations

from wms_grpc.domain.submission import ClusterLocations
from wms_grpc.domain.topics import FIRING
from wms_grpc.engine.loops import reconcile
from wms_grpc.engine.wakeups import Wakeups
from wms_grpc.storage import nets
from wms_grpc.storage.firing import fire
from wms_grpc.storage.store import Store

__all__ = ["run_firing"]


async def run_firing(store: Store, wakeups: Wakeups, locations: ClusterLocations) -> None:
    """Fire for ever."""

    async def step() -> float | None:
        while await fire(store, locations):
            pass
        return await nets.next_due(store.db)

    await reconcile("firing", FIRING, wakeups, step)
