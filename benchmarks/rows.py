"""The rows of the table, by name, in their order."""

from __future__ import annotations

from typing import Final

from benchmarks import (
    assignment_latency,
    condor_submissions,
    events,
    start_up,
    statuses,
    submissions,
    watchers,
)
from benchmarks.growth import growth_of
from benchmarks.measuring import Row

__all__ = ["ROWS"]

_PARTS = (
    assignment_latency.ROW,
    submissions.ROW,
    statuses.ROW,
    watchers.ROW,
    events.ROW,
    start_up.ROW,
)

ROWS: Final[dict[str, Row]] = {
    row.name: row for row in (*_PARTS, *map(growth_of, _PARTS), condor_submissions.ROW)
}
