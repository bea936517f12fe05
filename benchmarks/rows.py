"""The rows of the table, by name, in their order."""

from __future__ import annotations

from typing import Final

from benchmarks import assignment_latency, events, statuses, submissions, watchers
from benchmarks.measuring import Row

__all__ = ["ROWS"]

_FIRST = (assignment_latency.ROW, submissions.ROW, statuses.ROW, watchers.ROW, events.ROW)

ROWS: Final[dict[str, Row]] = {row.name: row for row in _FIRST}
