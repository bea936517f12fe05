"""The WMS's gauges, as they are read when Prometheus asks."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Metric

from ewms_postgres.database import Database
from ewms_rpc.metrics_http import MetricSource, Sampled, gauge
from wms_grpc.engine.feed import Feed
from wms_grpc.storage.gauges import read_gauges

__all__ = ["wms_metrics"]

_READ = (
    ("workflows", "ewms_wms_workflows", "Workflows that live.", ("state",)),
    (
        "oldest_pending",
        "ewms_wms_oldest_pending_seconds",
        "Age of the oldest PENDING workflow.",
        (),
    ),
    ("taskforces", "ewms_wms_taskforces", "Taskforces that have not ended.", ("phase",)),
    (
        "assignments",
        "ewms_wms_assignments",
        "Assignments that no agent was sent, or that it was sent and has not answered.",
        ("schedd", "state"),
    ),
    (
        "agent_lease",
        "ewms_wms_agent_lease_seconds",
        "What is left of an agent's lease; negative: the schedd has no agent.",
        ("schedd",),
    ),
    ("outbox", "ewms_wms_outbox_length", "Revisions that have no position yet.", ()),
)


def wms_metrics(db: Database, feed: Feed) -> list[MetricSource]:
    """What a scrape reads of one process and of the database that it shares."""

    async def of_database() -> Iterable[Metric]:
        values = await read_gauges(db)
        return [
            gauge(name, meaning, values.get(key, ()), labels)
            for key, name, meaning, labels in _READ
        ]

    async def of_process() -> Iterable[Metric]:
        usage = db.usage
        return [
            gauge(
                "ewms_wms_database_connections",
                "Connections of this process's pool.",
                [
                    (("open",), usage.n_open),
                    (("in_use",), usage.n_in_use),
                    (("limit",), usage.limit),
                ],
                ("state",),
            ),
            gauge(
                "ewms_wms_watchers",
                "Watches of this process: of one workflow, or of all that match.",
                [
                    (("workflow",), feed.workflows.count_followers()),
                    (("all",), feed.positions.count_followers()),
                ],
                ("of",),
            ),
        ]

    up = Sampled("ewms_wms_database_up", "Whether the database answered this scrape.", of_database)
    return [of_process, up]
