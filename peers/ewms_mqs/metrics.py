"""The MQS's metrics: what a process counts, and gauges that are read when Prometheus asks."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Counter, Metric

from ewms_mqs.config import MqsSettings
from ewms_postgres.database import Database
from ewms_postgres.statements import statement
from ewms_rpc.metrics_http import MetricSource, Sampled, gauge

__all__ = ["mqs_metrics", "note_deliveries", "note_expired", "note_published", "note_settled"]

_PUBLISHED = Counter("ewms_mqs_published", "Events made durable, repeats not among them.")
_DELIVERIES = Counter("ewms_mqs_deliveries", "Events leased to a consumer.", ["is_again"])
_ACKNOWLEDGED = Counter("ewms_mqs_acknowledged", "Events acknowledged.")
_REFUSED = Counter("ewms_mqs_requeued", "Deliveries that their consumer refused, to be made again.")
_EXPIRED = Counter("ewms_mqs_leases_expired", "Deliveries whose lease ran out.")
_DEAD = Counter("ewms_mqs_dead_letters", "Events that became dead letters.", ["why"])

_FIRST, _AGAIN = _DELIVERIES.labels("no"), _DELIVERIES.labels("yes")
_DEAD_BY_CONSUMER, _DEAD_BY_LEASE = _DEAD.labels("refused"), _DEAD.labels("lease")

# Sums of a few rows: only queues that keep something are in the index.
_GAUGES = statement("""
    SELECT (SELECT n_queues FROM mqs.room) AS n_queues,
      coalesce(sum(depth), 0)::float8 AS depth,
      coalesce(sum(in_flight), 0)::float8 AS in_flight,
      coalesce(sum(dead), 0)::float8 AS dead,
      (SELECT count(*) FROM mqs.queues WHERE close_time IS NOT NULL AND drain_time IS NULL)
        AS n_draining
    FROM mqs.counts WHERE depth + in_flight + dead > 0
""")


def note_published(n_events: int) -> None:
    """So many new events are durable."""
    _PUBLISHED.inc(n_events)


def note_deliveries(n_deliveries: Iterable[int]) -> None:
    """Events were leased, each of which has had so many deliveries by now."""
    for n in n_deliveries:
        (_AGAIN if n > 1 else _FIRST).inc()


def note_settled(n_acked: int, n_requeued: int, n_dead: int) -> None:
    """A settlement was made."""
    _ACKNOWLEDGED.inc(n_acked)
    _REFUSED.inc(n_requeued)
    _DEAD_BY_CONSUMER.inc(n_dead)


def note_expired(n_ready: int, n_dead: int) -> None:
    """Leases ran out: of events that wait again, and of such that are dead letters."""
    _EXPIRED.inc(n_ready + n_dead)
    _DEAD_BY_LEASE.inc(n_dead)


def mqs_metrics(database: Database, settings: MqsSettings) -> list[MetricSource]:
    """What a scrape reads of one process and of the database that it shares."""

    async def of_database() -> Iterable[Metric]:
        row = await database.fetchrow(_GAUGES)
        assert row is not None
        return _gauges(
            row["n_queues"], row["n_draining"], row["depth"], row["in_flight"], row["dead"]
        )

    async def of_process() -> Iterable[Metric]:
        usage = database.usage
        return [
            gauge(
                "ewms_mqs_database_connections",
                "Connections of this process's pool.",
                [
                    (("open",), usage.n_open),
                    (("in_use",), usage.n_in_use),
                    (("limit",), usage.limit),
                ],
                ("state",),
            ),
            gauge(
                "ewms_mqs_limit",
                "The settings' bounds on what there may be at a time.",
                [
                    (("queues",), settings.max_queues_total),
                    (("events",), settings.max_events_total),
                ],
                ("of",),
            ),
        ]

    up = Sampled("ewms_mqs_database_up", "Whether the database answered this scrape.", of_database)
    return [of_process, up]


def _gauges(
    n_queues: int, n_draining: int, depth: float, in_flight: float, dead: float
) -> list[Metric]:
    return [
        gauge("ewms_mqs_queues", "Queues that are granted.", [((), n_queues)]),
        gauge("ewms_mqs_draining_queues", "Queues closed and not drained.", [((), n_draining)]),
        gauge(
            "ewms_mqs_events",
            "Events kept: waiting, delivered and not settled, or dead letters.",
            [(("waiting",), depth), (("in_flight",), in_flight), (("dead",), dead)],
            ("state",),
        ),
    ]
