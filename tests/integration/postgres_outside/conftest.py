"""One outside PostgreSQL for these tests, and a migrated database for each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from outside_postgres import OutsidePostgres, why_not
from outside_stack import said

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def outside() -> Iterator[OutsidePostgres]:
    if lacking := why_not():
        pytest.skip(lacking)
    server = OutsidePostgres.started()
    yield server
    server.remove()


@dataclass(frozen=True)
class Site:
    """A database of the outside server, and the environments of those who use it."""

    server: OutsidePostgres
    database: str

    @property
    def direct(self) -> dict[str, str]:
        """The servers' environment, for the server itself."""
        return self.server.settings(self.database)

    @property
    def pooled(self) -> dict[str, str]:
        """The servers' environment, for PgBouncer."""
        return self.server.settings(self.database, pooled=True)

    async def upgrade(self) -> tuple[int, str]:
        """What the operator runs, as the owner."""
        env = self.direct
        return await said("db", "upgrade", "--database", env["EWMS_PG_OWNER_URL"], env=env)


@pytest.fixture
def empty_site(outside: OutsidePostgres) -> Iterator[Site]:
    """A database in which nobody has migrated anything.

    A pooler that died during the test fails it, whatever the test itself has seen.
    """
    database = f"test_{next(_NUMBERS)}"
    outside.run("database", database)
    yield Site(outside, database)
    outside.require_pooler()


@pytest.fixture
async def site(empty_site: Site) -> Site:
    """A database that the owner has migrated."""
    code, told = await empty_site.upgrade()
    assert code == 0, told
    return empty_site
