"""`ewms up` until `ready`, on a data folder that has been used before.

From the start of the process to its line; then it is stopped, and started again. The limit is the
embedded PostgreSQL alone on a folder of its own, from a program that runs already.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.measuring import Criterion, Round, Row, Unit
from benchmarks.processes import EWMS, serving
from benchmarks.site import Kind, Site, migrated
from ewms_postgres.embedded import embedded_postgres

__all__ = ["ROW"]


@asynccontextmanager
async def _ours(site: Site, kind: Kind) -> AsyncIterator[Round]:
    folder = site.new_folder()
    if kind is Kind.GROWN:
        await _grow(site, folder)
    log = site.log_of("up")

    async def measure() -> float:
        addresses = ("--wms", "127.0.0.1:0", "--mqs", "127.0.0.1:0")
        begin = time.perf_counter()
        async with serving(EWMS, "up", "--data", str(folder), *addresses, log=log, says="ready"):
            return time.perf_counter() - begin

    yield measure


@asynccontextmanager
async def _limit(site: Site, kind: Kind) -> AsyncIterator[Round]:
    folder = site.new_folder()

    async def measure() -> float:
        begin = time.perf_counter()
        async with embedded_postgres(folder):
            return time.perf_counter() - begin

    yield measure


ROW = Row(
    name="start-up",
    what="`ewms up` until ready, second start",
    limit_is="the embedded PostgreSQL alone",
    unit=Unit.SECONDS,
    required=Criterion("3 s more", lambda ours, limit: ours - limit <= 3),
    goal=Criterion("1.5 s more", lambda ours, limit: ours - limit <= 1.5),
    ours=_ours,
    limit=_limit,
)


async def _grow(site: Site, folder: Path) -> None:
    from benchmarks.growing import grow

    async with embedded_postgres(folder) as server:
        await server.ensure_database("ewms")
        url = server.url("ewms")
        await migrated(url)
        await grow(site, url)
