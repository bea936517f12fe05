"""Where a password may come from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import Site
from outside_postgres import with_parts
from outside_stack import said

from ewms_postgres.connection import connect
from ewms_postgres.errors import DatabaseError


async def connects(env: dict[str, str], url: str) -> None:
    """`ewms` itself, on a schema that is current: nothing to do but to connect."""
    code, told = await said("db", "upgrade", env=env | {
        "EWMS_WMS_DATABASE": url, "EWMS_MQS_DATABASE": url,
    })  # fmt: skip
    assert (code, told.count("the schema was current")) == (0, 2), told


async def test_a_password_may_come_from_each_of_its_places(site: Site, tmp_path: Path) -> None:
    url = site.direct["EWMS_WMS_DATABASE"]
    password = site.server.password("ewms_app")
    await connects({}, with_parts(url, password=password))
    await connects({"PGPASSWORD": password}, url)
    await connects({"PGPASSFILE": site.direct["PGPASSFILE"]}, url)
    shutil.copy(site.direct["PGPASSFILE"], tmp_path / ".pgpass")
    await connects({"HOME": str(tmp_path)}, url)
    (tmp_path / "password").write_text(f"{password}\n")
    await connects({}, f"{url}&password_file={tmp_path / 'password'}")


async def test_a_wrong_password_is_told_without_it(site: Site) -> None:
    url = with_parts(site.direct["EWMS_WMS_DATABASE"], password="hunter2")
    code, told = await said("wms", env={"EWMS_WMS_DATABASE": url})
    assert code == 1
    assert "password authentication failed" in told
    assert "hunter2" not in told


async def test_a_password_file_is_read_again_for_each_connection(
    site: Site, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    url = f"{site.direct['EWMS_WMS_DATABASE']}&password_file={file}"
    with pytest.raises(DatabaseError, match="the password file cannot be read"):
        await connect(url, application_name="test")
    file.write_text(site.server.password("ewms_app"))
    await (await connect(url, application_name="test")).close()
