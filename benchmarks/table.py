"""The table that a run prints, and the same as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich.table import Table

from benchmarks.measuring import Measurement, Unit, Verdict

__all__ = ["as_json", "as_table"]

_STYLES = {Verdict.GOAL: "green", Verdict.REQUIRED: "yellow", Verdict.BELOW: "red"}


def as_table(measurements: Sequence[Measurement], title: str) -> Table:
    """The measurements as a table for people."""
    table = Table(
        "what", "ours", "limit", "is", "ratio", "required", "goal", "verdict", title=title
    )
    for one in measurements:
        row = one.row
        table.add_row(
            row.what,
            _figure(one.ours, row.unit),
            _figure(one.limit, row.unit),
            row.limit_is,
            _ratio(one),
            row.required.words,
            row.goal.words,
            f"[{_STYLES[one.verdict]}]{one.verdict.value}[/]",
        )
    return table


def as_json(measurements: Sequence[Measurement]) -> str:
    """The measurements with every round, one object a line."""
    return "\n".join(
        json.dumps(
            {
                "row": one.row.name,
                "unit": one.row.unit.value,
                "ours": one.ours,
                "limit": one.limit,
                "share": one.share,
                "verdict": one.verdict.value,
                "rounds_of_ours": one.rounds_of_ours,
                "rounds_of_limit": one.rounds_of_limit,
            }
        )
        for one in measurements
    )


def _figure(value: float, unit: Unit) -> str:
    if unit is Unit.RATE:
        return f"{value:,.0f}{unit.value}"
    return f"{value:.2f} {unit.value}"


def _ratio(one: Measurement) -> str:
    if one.row.unit is Unit.RATE:
        return f"{one.share:.0%}"
    return f"{one.ours / one.limit:.2f} x"
