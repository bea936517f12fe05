from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import psutil
import pytest
import watchfiles

from ewms_postgres.cluster import Cluster, EmbeddedPostgresError
from ewms_postgres.embedded import (
    EmbeddedPostgres,
    WrongMajorVersion,
    database_from,
    embedded_postgres,
)

USE = """
import asyncio, sys
from pathlib import Path
from ewms_postgres.embedded import database_from
async def main():
    async with database_from("embedded", Path(sys.argv[1])) as url:
        print(url, file=sys.stderr, flush=True)
        await asyncio.to_thread(sys.stdin.read)
asyncio.run(main())
"""


def server_pid(data: Path) -> int | None:
    file = data / "postgres" / "postmaster.pid"
    return int(file.read_text().split()[0]) if file.exists() else None


def is_running(pid: int | None) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def value(url: str, sql: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


@asynccontextmanager
async def another_process(data: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that uses the server until its input is closed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", USE, str(data), stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    assert (await process.stderr.readline()).startswith(b"postgresql://")
    try:
        yield process
    finally:
        if process.returncode is None:
            await process.communicate(b"")


@pytest.fixture
async def stopped_at_the_end(tmp_path: Path) -> AsyncIterator[Path]:
    """A data folder whose server is stopped, whatever the test did to its users."""
    yield tmp_path
    await asyncio.to_thread(Cluster(tmp_path).stop)


async def test_the_last_user_stops_the_server_and_data_survive(tmp_path: Path) -> None:
    async with database_from("embedded", tmp_path) as url:
        pid = server_pid(tmp_path)
        assert is_running(pid)
        await value(url, "CREATE TABLE kept AS SELECT 7 AS n")
    assert not is_running(pid)
    async with database_from("embedded", tmp_path) as url:
        assert await value(url, "SELECT n FROM kept") == 7


async def test_it_listens_on_a_private_socket_only_and_keeps_every_commit(tmp_path: Path) -> None:
    async with embedded_postgres(tmp_path) as server:
        settings = ("listen_addresses", "fsync", "synchronous_commit", "max_connections")
        found = [await value(server.url("postgres"), f"SHOW {name}") for name in settings]
        assert found == ["", "on", "on", "200"]
        assert server.socket_dir.stat().st_mode & 0o077 == 0


async def test_users_of_one_process_share_the_server(tmp_path: Path) -> None:
    async with embedded_postgres(tmp_path) as first:
        pid = server_pid(tmp_path)
        async with embedded_postgres(tmp_path) as second:
            assert second == first
        assert is_running(pid)
        assert await value(first.url("postgres"), "SELECT 1") == 1
    assert not is_running(pid)


async def test_starters_at_the_same_moment_get_one_server(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(60),
        asyncio.TaskGroup() as group,
    ):
        release = asyncio.Event()
        pids: list[int | None] = []

        async def use() -> None:
            async with embedded_postgres(tmp_path) as server:
                pids.append(server_pid(tmp_path))
                assert await value(server.url("postgres"), "SELECT 1") == 1
                if len(pids) == 4:
                    release.set()
                await release.wait()

        for _ in range(4):
            group.create_task(use())
    assert len(set(pids)) == 1
    assert not is_running(pids[0])


async def test_a_killed_user_leaves_the_server_to_be_adopted(stopped_at_the_end: Path) -> None:
    data = stopped_at_the_end
    async with another_process(data) as user:
        pid = server_pid(data)
        # The whole session of the user is killed, as a terminal or a service manager would.
        user.kill()
        await user.wait()
    assert is_running(pid)
    async with embedded_postgres(data) as server:
        assert server_pid(data) == pid
        assert await value(server.url("postgres"), "SELECT 1") == 1
    assert not is_running(pid)


async def test_a_user_that_leaves_does_not_take_the_server_from_another(tmp_path: Path) -> None:
    async with another_process(tmp_path):
        pid = server_pid(tmp_path)
        async with embedded_postgres(tmp_path):
            pass
        assert is_running(pid)
    assert not is_running(pid)


async def test_a_crashed_server_recovers_what_was_committed(tmp_path: Path) -> None:
    async with database_from("embedded", tmp_path) as url:
        await value(url, "CREATE TABLE kept AS SELECT 7 AS n")
        crashed = psutil.Process(server_pid(tmp_path))
        workers = crashed.children()
        crashed.kill()
        await asyncio.to_thread(psutil.wait_procs, workers)
        async with database_from("embedded", tmp_path) as again:
            assert await value(again, "SELECT n FROM kept") == 7


async def test_the_number_of_a_dead_server_may_belong_to_somebody_else(tmp_path: Path) -> None:
    async with embedded_postgres(tmp_path):
        pass
    file = tmp_path / "postgres" / "postmaster.pid"
    file.write_text(f"{os.getpid()}\n{file.parent}\n0\n5432\n{file.parent}\n\n0 0\nready\n")
    async with embedded_postgres(tmp_path) as server:
        assert await value(server.url("postgres"), "SELECT 1") == 1


async def test_a_creation_that_was_killed_is_begun_anew(tmp_path: Path) -> None:
    unfinished = tmp_path / "postgres.unfinished"
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("18\n")
    async with embedded_postgres(tmp_path) as server:
        assert await value(server.url("postgres"), "SELECT 1") == 1
    assert not unfinished.exists()


async def test_data_of_another_major_version_are_left_alone(tmp_path: Path) -> None:
    async with embedded_postgres(tmp_path):
        pass
    (tmp_path / "postgres" / "PG_VERSION").write_text("15\n")
    with pytest.raises(WrongMajorVersion) as refused:
        async with embedded_postgres(tmp_path):
            pass
    assert (refused.value.found, refused.value.ours) == ("15", "18")


async def test_a_server_that_cannot_start_tells_why(tmp_path: Path) -> None:
    async with embedded_postgres(tmp_path):
        pass
    with (tmp_path / "postgres" / "postgresql.conf").open("a") as settings:
        settings.write("no_such_setting = 1\n")
    with pytest.raises(EmbeddedPostgresError, match="no_such_setting"):
        async with embedded_postgres(tmp_path):
            pass


async def test_a_long_path_does_with_a_socket_elsewhere(tmp_path: Path) -> None:
    data = tmp_path / ("long" * 20) / "with space"
    async with embedded_postgres(data) as server:
        assert server.socket_dir != data / "postgres"
        assert server.socket_dir.stat().st_mode & 0o077 == 0
        assert await value(server.url("postgres"), "SELECT 1") == 1
        async with embedded_postgres(data) as adopted:
            assert adopted == server
    assert not server.socket_dir.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another account")
async def test_root_runs_it_as_an_account_below_closed_folders(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    async with embedded_postgres(closed / "data") as server:
        assert await value(server.url("postgres"), "SELECT 1") == 1
        process = psutil.Process(server_pid(closed / "data"))
        assert process.uids().real != 0
    # Others may pass through and neither list nor write; the data stay closed.
    assert closed.stat().st_mode & 0o777 == 0o701
    assert (closed / "data" / "postgres").stat().st_mode & 0o077 == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs it as another account")
async def test_it_is_stopped_below_a_folder_that_was_closed_meanwhile(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    async with embedded_postgres(closed / "data"):
        closed.chmod(0o700)
    assert not (closed / "data" / "postgres" / "postmaster.pid").exists()


async def test_a_database_is_created_once(tmp_path: Path) -> None:
    async with embedded_postgres(tmp_path) as server:
        await asyncio.gather(*(server.ensure_database("wms") for _ in range(3)))
        assert await value(server.url("wms"), "SELECT current_database()") == "wms"
        with pytest.raises(ValueError, match="plain"):
            await server.ensure_database('x"; DROP DATABASE wms; --')


async def test_a_start_that_is_cancelled_leaves_no_server(tmp_path: Path) -> None:
    async def use() -> None:
        async with embedded_postgres(tmp_path):
            await asyncio.Event().wait()

    using = asyncio.create_task(use())
    async for changes in watchfiles.awatch(tmp_path, step=5):
        if any("postgres.unfinished" in path for _, path in changes):
            break
    using.cancel()
    await asyncio.wait([using])
    assert using.cancelled()
    assert server_pid(tmp_path) is None


async def test_a_database_elsewhere_is_taken_as_it_is(tmp_path: Path) -> None:
    url = "postgresql://db.example.org/ewms"
    async with database_from(url, tmp_path / "untouched") as given:
        assert given == url
    assert not (tmp_path / "untouched").exists()


def test_the_url_names_socket_and_database() -> None:
    server = EmbeddedPostgres(Path("/run/with space"))
    assert server.url("ewms") == "postgresql://postgres@/ewms?host=/run/with%20space"
