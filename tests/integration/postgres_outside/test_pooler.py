"""Behind PgBouncer in transaction mode, and through restarts of it and of the server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest
from conftest import Site
from outside_stack import OutsideStack, outside_stack, said


@pytest.mark.parametrize("part", ["wms", "mqs"])
async def test_a_pooler_alone_is_refused_at_the_start(part: str) -> None:
    env = {f"EWMS_{part.upper()}_{name}": value for name, value in {
        "DATABASE": "postgresql://ewms@localhost/ewms", "POOLED": "true",
    }.items()}  # fmt: skip
    code, told = await said(part, env=env)
    assert code == 2
    assert "`pooled` needs `database_direct`" in told


async def test_a_workflow_goes_through_a_pooler_and_what_needs_a_session_around_it(
    site: Site, tmp_path: Path
) -> None:
    async with outside_stack(tmp_path, site.pooled) as stack:
        await stack.submit()
        await stack.send(*(b"%d" % number for number in range(50)))
        assert await stack.results(50) == sorted(b"%d" % number for number in range(50))
        assert {"ewms-wms", "ewms-mqs", "ewms-mqs-listener", "ewms-wms-outbox"} <= await names(site)
        await stack.finish()


async def names(site: Site) -> set[str]:
    """Who has a connection to the database, by the names that they gave."""
    env = site.direct
    connection = await asyncpg.connect(env["EWMS_WMS_DATABASE"], passfile=env["PGPASSFILE"])
    try:
        rows = await connection.fetch(
            "SELECT application_name FROM pg_stat_activity WHERE datname = current_database()"
        )
    finally:
        await connection.close()
    return {row["application_name"] for row in rows}


@pytest.mark.parametrize(
    "restart",
    [("restart", "fast"), ("restart", "immediate"), ("restart-pooler",)],
    ids=["server", "crash of the server", "pooler"],
)
async def test_a_restart_in_the_middle_of_a_workflow_loses_nothing(
    site: Site, tmp_path: Path, restart: tuple[str, ...]
) -> None:
    async with outside_stack(tmp_path, site.pooled) as stack:
        await stack.submit()
        await stack.send(*(b"before %d" % number for number in range(20)))
        first = await stack.results(5)
        sending = asyncio.create_task(keep_sending(stack))
        await asyncio.to_thread(site.server.run, *restart)
        sent = await sending
        expected = [*(b"before %d" % number for number in range(20)), *sent]
        rest = await until_all(stack, set(expected) - set(first))
        assert {*first, *rest} == set(expected)
        await stack.finish()


async def keep_sending(stack: OutsideStack) -> list[bytes]:
    """Events sent one by one while the server goes away and comes back; each is confirmed."""
    payloads = [b"meanwhile %d" % number for number in range(20)]
    for payload in payloads:
        await stack.send(payload)
    return payloads


async def until_all(stack: OutsideStack, expected: set[bytes]) -> set[bytes]:
    """Results until all of these have come; a repeat after a lost acknowledgement may be there."""
    found: set[bytes] = set()
    async with (
        asyncio.timeout(90),
        stack.client.consume(stack.workflow_id, "output") as deliveries,
    ):
        async for delivery in deliveries:
            found.add(delivery.payload)
            await delivery.ack()
            if expected <= found:
                break
    return found
