"""Launch: one loop a cluster location, woken when something waits there or room comes free."""

from __future__ import annotations

from wms_grpc.domain.submission import ClusterLocation
from wms_grpc.domain.topics import launch_topic
from wms_grpc.engine.loops import reconcile
from wms_grpc.engine.wakeups import Wakeups
from wms_grpc.storage.launching import launch
from wms_grpc.storage.store import Store

__all__ = ["run_launch"]


async def run_launch(store: Store, wakeups: Wakeups, location: ClusterLocation) -> None:
    """Launch at a location for ever."""

    async def step() -> float | None:
        while (await launch(store, location)).is_more:
            pass
        return None

    topic = launch_topic(location.name)
    await reconcile(f"launch at {location.name}", topic, wakeups, step)
