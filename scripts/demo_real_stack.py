"""WMS, MQS and a TMS for each schedd, on a pool, RabbitMQ and PostgreSQL: the real demo's stack."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Protocol

from demo_parts import EWMS, DemoFailed, Part, free_ports, run, say
from demo_site import Pool, Postgres, Rabbit

__all__ = ["LOCATIONS", "RealStack"]

LOCATIONS = ("north", "south")


class _Startable(Protocol):
    async def start(self) -> None: ...


async def _all_started(*startable: _Startable) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            for each in startable:
                group.create_task(each.start())
    except* DemoFailed as failures:
        raise DemoFailed("; ".join(map(str, failures.exceptions))) from None


class RealStack:
    """Everything that runs. `start` it, `stop` it in order, or `end` it whatever state it is in.

    `folder` takes logs and data, `pooled` has WMS and MQS go through PgBouncer.
    """

    def __init__(self, folder: Path, *, pooled: bool) -> None:
        self.folder = folder
        self.pool, self.rabbit, self.postgres = Pool(folder), Rabbit(folder), Postgres(folder)
        self._pooled = pooled
        self.wms = f"127.0.0.1:{free_ports(1)}"
        self._mqs = f"127.0.0.1:{free_ports(1)}"
        self.parts: dict[str, Part] = {}

    async def start(self) -> None:
        """Start all of it; everything serves when this returns."""
        say("starting RabbitMQ, PostgreSQL with PgBouncer, and looking for an HTCondor pool")
        await _all_started(self.pool, self.rabbit, self.postgres)
        database = await self.postgres.settings(pooled=self._pooled)
        say(f"RabbitMQ on {self.rabbit.address}, PostgreSQL on localhost:{self.postgres.port}")
        owner = database.pop("EWMS_PG_OWNER_URL")
        await run(self.folder, EWMS, "db", "upgrade", "--database", owner, env=database)
        say("the schemas are made by ewms_owner; the servers use them as ewms_app")
        self._define(database, await self.rabbit.settings())
        await _all_started(*self.parts.values())
        say(f"WMS on {self.wms}, MQS on {self._mqs}, a TMS for each of {self.pool.schedds}")

    async def stop(self) -> None:
        """Stop our parts in order. Raises DemoFailed if one had died, or does not stop."""
        for part in reversed(self.parts.values()):
            await part.stop()

    async def end(self) -> None:
        """Whatever happened: nothing that was started here is left."""
        async with AsyncExitStack() as ends:
            # The last one first; one that fails keeps none of the others.
            for site in (self.pool, self.postgres, self.rabbit):
                ends.push_async_callback(site.end)
            ends.callback(say, "stopping RabbitMQ and PostgreSQL")
            for part in self.parts.values():
                ends.push_async_callback(part.end)

    def _define(self, database: dict[str, str], rabbit: dict[str, str]) -> None:
        locations = json.dumps({name: {"schedd": name} for name in LOCATIONS})
        # The broker's counts are a second old; the demo need not wait longer for a quiet queue.
        mqs = database | rabbit | {"EWMS_MQS_DRAIN_QUIET": "6"}
        self._add("MQS", "mqs", "--listen", self._mqs, env=mqs)
        self._add(
            "WMS", "wms", "--listen", self.wms, "--mqs", self._mqs,
            "--cluster-locations", locations, "--stop-grace", "5", env=database,
        )  # fmt: skip
        for name, schedd in zip(LOCATIONS, self.pool.schedds, strict=True):
            self._add(
                f"TMS {name}", "tms", "--wms", self.wms, "--data", str(self.pool.place / name),
                "--grid", "condor", "--schedd", name, "--condor-schedds", f"{name}={schedd}",
                "--condor-config", self.pool.config, "--pilot", str(self.pool.pilot),
                "--condor-tokens", str(self.pool.place / "tokens"), "--condor-interval", "2",
                env={}, prefix=self._as_account,
            )  # fmt: skip

    def _add(
        self, name: str, *command: str, env: dict[str, str], prefix: tuple[str, ...] = ()
    ) -> None:
        self.parts[name] = Part(name, (EWMS, *command), env, self.folder, prefix)

    @property
    def _as_account(self) -> tuple[str, ...]:
        """A TMS runs as the account of its token; it may search root's folders for its Python."""
        account = self.pool.account
        return (
            "setpriv", "--reuid", account, "--regid", account, "--clear-groups",
            "--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search",
        )  # fmt: skip
