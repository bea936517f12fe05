"""The ground on which everything is measured: one embedded PostgreSQL, and databases on it.

A database is a copy of a template that has the schemas of the WMS and the MQS, and either nothing
in them or a great many finished workflows. Every server gets a database of its own, so that none
works on another one's rows.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from itertools import count
from pathlib import Path

import asyncpg

from benchmarks.processes import EWMS, ServerProcess, bare_server, serving
from benchmarks.profiling import begin_sampling, profiled_command
from ewms_mqs import server as mqs_server
from ewms_postgres.embedded import EmbeddedPostgres, embedded_postgres
from ewms_postgres.migrations import upgrade
from wms_grpc import server as wms_server

__all__ = ["NOBODY", "Kind", "Scale", "Site", "migrated", "open_site"]

NOBODY = "127.0.0.1:1"
"""An address where no peer is."""

_FINISHED_WORKFLOWS = 100_000


class Kind(Enum):
    """What a database has in it at first."""

    EMPTY = "empty"
    GROWN = "grown"


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured: all of it, or just enough to see that it works."""

    is_quick: bool

    def rounds(self, full: int) -> int:
        """How many rounds."""
        return 1 if self.is_quick else full

    def of(self, full: int) -> int:
        """How much of something that a round, or a database, has in full."""
        return max(1, full // 20) if self.is_quick else full

    @property
    def finished_workflows(self) -> int:
        """How many finished workflows a grown database has."""
        return self.of(_FINISHED_WORKFLOWS)


@dataclass(slots=True)
class Site:
    """Where the rows are measured. `profiles` are those of servers that have ended."""

    folder: Path
    scale: Scale
    is_profiled: bool
    _server: EmbeddedPostgres
    profiles: list[tuple[str, Path]] = field(default_factory=list)
    _templates: dict[Kind, str] = field(default_factory=dict)
    _numbers: count[int] = field(default_factory=count)

    def new_folder(self) -> Path:
        """A folder that nobody else has."""
        folder = self.folder / f"data-{next(self._numbers)}"
        folder.mkdir()
        return folder

    def log_of(self, name: str) -> Path:
        """The file that a server's stderr goes to."""
        return self.folder / f"{name}.log"

    @asynccontextmanager
    async def database(self, kind: Kind) -> AsyncIterator[str]:
        """Give the URL of a fresh database, dropped in the end."""
        if kind not in self._templates:
            self._templates[kind] = await self._template(kind)
        name = f"ours_{next(self._numbers)}"
        # Files are copied, since a grown template would take minutes to go through the log.
        template = f"TEMPLATE {self._templates[kind]} STRATEGY FILE_COPY"
        await self._administer(f"CREATE DATABASE {name} {template}")
        try:
            yield self._server.url(name)
        finally:
            await self._administer(f"DROP DATABASE {name} WITH (FORCE)")

    def wms(self, url: str, mqs: str = NOBODY) -> AbstractAsyncContextManager[ServerProcess]:
        """Run a WMS on the database."""
        return self._ewms("wms", "--database", url, "--mqs", mqs)

    def mqs(self, url: str) -> AbstractAsyncContextManager[ServerProcess]:
        """Run an MQS on the database."""
        return self._ewms("mqs", "--database", url)

    def bare(self, row: str, url: str) -> AbstractAsyncContextManager[ServerProcess]:
        """Run a row's limit."""
        return serving(*bare_server(row, url), log=self.log_of("bare"), says="listening on")

    @asynccontextmanager
    async def _ewms(self, name: str, *options: str) -> AsyncIterator[ServerProcess]:
        arguments = (name, "--listen", "127.0.0.1:0", *options)
        says, log = "listening on", self.log_of(name)
        if not self.is_profiled:
            async with serving(EWMS, *arguments, log=log, says=says) as server:
                yield server
            return
        file = self.new_folder() / "profile.json"
        async with serving(*profiled_command(file, *arguments), log=log, says=says) as server:
            begin_sampling(server.pid)
            yield server
        self.profiles.append((name, file))

    async def _template(self, kind: Kind) -> str:
        name = f"template_{kind.value}"
        await self._administer(f"CREATE DATABASE {name} TEMPLATE template0")
        url = self._server.url(name)
        await migrated(url)
        if kind is Kind.GROWN:
            # Imported here: it needs a site, to grow the first workflow on.
            from benchmarks.growing import grow

            await grow(self, url)
        return name

    async def _administer(self, sql: str) -> None:
        connection = await asyncpg.connect(self._server.url("postgres"))
        try:
            await connection.execute(sql)
        finally:
            await connection.close()


async def migrated(url: str) -> None:
    """Give a database both schemas."""
    await upgrade(url, script_location=wms_server.MIGRATIONS, schema=wms_server.SCHEMA)
    await upgrade(url, script_location=mqs_server.MIGRATIONS, schema=mqs_server.SCHEMA)


@asynccontextmanager
async def open_site(folder: Path, scale: Scale, *, is_profiled: bool) -> AsyncIterator[Site]:
    """Start PostgreSQL in the folder, and stop it in the end."""
    async with embedded_postgres(folder / "postgres") as server:
        yield Site(folder, scale, is_profiled, server)
