"""The TMS's metrics: reports that were not taken, and gauges that are read when Prometheus asks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from prometheus_client import Counter, Metric

from ewms_rpc.metrics_http import MetricSource, gauge
from ewms_tms.clusters import ClusterBook

__all__ = ["AgentView", "note_report", "tms_metrics"]

_REPORTS = Counter("ewms_tms_reports", "Attempts to tell the WMS something.", ["report", "code"])


class AgentView(Protocol):
    """What is looked at of an agent."""

    @property
    def schedd(self) -> str:
        """Whose agent it is."""
        ...

    @property
    def book(self) -> ClusterBook:
        """Its clusters."""
        ...

    @property
    def lease_seconds(self) -> float:
        """What is left of its lease; 0 without one."""
        ...


def note_report(report: str, code: str) -> None:
    """A report was answered with this code."""
    _REPORTS.labels(report, code).inc()


def tms_metrics(agents: Sequence[AgentView]) -> list[MetricSource]:
    """What a scrape reads of the agents of one process."""

    async def read() -> Iterable[Metric]:
        return [
            gauge(
                "ewms_tms_workers",
                "Workers by their status in the schedd.",
                [
                    ((agent.schedd, status), count)
                    for agent in agents
                    for status, count in agent.book.count_workers().items()
                ],
                ("schedd", "status"),
            ),
            _by_schedd(
                "ewms_tms_clusters",
                "Clusters whose end the WMS has not heard of.",
                {agent.schedd: agent.book.n_clusters for agent in agents},
            ),
            _by_schedd(
                "ewms_tms_report_lag_seconds",
                "For how long the oldest change has waited to be told; 0 when all is told.",
                {agent.schedd: agent.book.lag_seconds for agent in agents},
            ),
            _by_schedd(
                "ewms_tms_lease_seconds",
                "What is left of the lease; 0: not the schedd's agent.",
                {agent.schedd: agent.lease_seconds for agent in agents},
            ),
        ]

    return [read]


def _by_schedd(name: str, meaning: str, values: dict[str, float]) -> Metric:
    return gauge(name, meaning, [((key,), value) for key, value in values.items()], ("schedd",))
