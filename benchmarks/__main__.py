"""`python -m benchmarks`: measures every row, or some, and prints the table."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.measuring import Measurement, Row, measure
from benchmarks.profiling import read_profile, show_profile
from benchmarks.rows import ROWS
from benchmarks.site import Scale, Site, open_site
from benchmarks.table import as_json, as_table
from ewms_rpc import logs
from ewms_rpc.running import run

# What goes into a file has its full width.
_WIDTH = None if Console().is_terminal else 180
_progress = Console(stderr=True, width=_WIDTH)
_output = Console(width=_WIDTH)


def main(
    quick: Annotated[
        bool, typer.Option("--quick", help="Small counts and one round: does it work?")
    ] = False,
    row: Annotated[
        list[str] | None, typer.Option(help=f"Only this one; repeatable. {', '.join(ROWS)}.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One object a row, every round.")] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Show where our servers' time goes, for each row.")
    ] = False,
) -> None:
    """Measure how fast the system is, beside the limit of what it stands on."""
    unknown = set(row or ()) - ROWS.keys()
    if unknown:
        raise typer.BadParameter(f"no such row: {', '.join(sorted(unknown))}")
    chosen = [ROWS[name] for name in row or (each for each in ROWS if not ROWS[each].needs)]
    logs.configure(False, "ERROR")
    measurements = run(lambda _stop: _measure_all(chosen, Scale(quick), is_profiled=profile))
    if json:
        typer.echo(as_json(measurements))
    else:
        _output.print(as_table(measurements, "quick, so no measure of anything" if quick else ""))


async def _measure_all(
    rows: Sequence[Row], scale: Scale, *, is_profiled: bool
) -> list[Measurement]:
    with tempfile.TemporaryDirectory(prefix="ewms-bench-") as folder:
        async with open_site(Path(folder), scale, is_profiled=is_profiled) as site:
            return [await _measure_one(row, site) for row in rows]


async def _measure_one(row: Row, site: Site) -> Measurement:
    with _progress.status(f"{row.name}: {row.what}"):
        measurement = await measure(row, site)
    _progress.print(f"{row.name}: {measurement.ours:,.2f} beside {measurement.limit:,.2f}")
    for server, file in site.profiles:
        show_profile(_progress, f"{row.name}: the {server}", read_profile(file))
    site.profiles.clear()
    return measurement


if __name__ == "__main__":
    typer.run(main)
