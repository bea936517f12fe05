"""The server must prove who it is, and nobody comes in without TLS."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest
from certificates import Authority
from conftest import Site
from outside_postgres import with_parts
from outside_stack import said

from ewms_postgres.connection import connect


async def test_a_connection_is_encrypted_and_the_servers_name_is_checked(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = site.direct
    monkeypatch.setenv("PGPASSFILE", env["PGPASSFILE"])
    connection = await connect(env["EWMS_WMS_DATABASE"], application_name="test")
    try:
        assert await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    finally:
        await connection.close()


async def test_a_server_with_a_certificate_of_another_ca_is_refused_in_words(
    site: Site, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "other").certificate
    url = with_parts(
        site.direct["EWMS_WMS_DATABASE"], query=f"sslmode=verify-full&sslrootcert={other}"
    )
    code, told = await said("db", "upgrade", "--database", url, env=site.direct)
    assert code == 1
    assert "certificate verify failed" in told
    assert "Traceback" not in told


async def test_without_tls_the_server_lets_nobody_in(site: Site) -> None:
    env = site.direct
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError, match="no encryption"):
        await asyncpg.connect(
            with_parts(env["EWMS_WMS_DATABASE"], query="sslmode=disable"),
            passfile=env["PGPASSFILE"],
        )
