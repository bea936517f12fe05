"""Growth: every other row, with 100,000 finished workflows in the database and without."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.measuring import Row, at_least
from benchmarks.site import Kind

__all__ = ["growth_of"]


def growth_of(row: Row) -> Row:
    """The row on a grown database, held against itself on an empty one."""
    return replace(
        row,
        name=f"growth-{row.name}",
        what=f"growth: {row.what}",
        limit_is="the same, without 100,000 finished workflows",
        required=at_least(0.8, row.unit),
        goal=at_least(0.95, row.unit),
        limit=row.ours,
        kind=Kind.GROWN,
    )
