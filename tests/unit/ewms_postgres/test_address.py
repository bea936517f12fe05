"""Where a database is said to be: what is refused before anything connects."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

import ewms_mqs.commands
import wms_grpc.commands
from ewms_mqs.config import MqsSettings
from ewms_postgres.address import driver_address, refuse_password
from wms_grpc.config import WmsSettings

SERVER = "postgresql://ewms@db.example.org/ewms"
IN_PLACE = "postgresql://ewms:hunter2@db.example.org/ewms"
IN_QUERY = f"{SERVER}?sslmode=require&password=hunter2"


@pytest.mark.parametrize("url", [IN_PLACE, IN_QUERY])
@pytest.mark.parametrize(
    ("app", "command"),
    [
        (wms_grpc.commands.app, "wms --database"),
        (wms_grpc.commands.app, "wms --database-direct"),
        (wms_grpc.commands.app, "db upgrade --database"),
        (wms_grpc.commands.app, "db upgrade --wms-database"),
        (wms_grpc.commands.app, "db upgrade --mqs-database"),
        (wms_grpc.commands.app, "db renew-epoch --database"),
        (ewms_mqs.commands.app, "--database"),
        (ewms_mqs.commands.app, "--database-direct"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_password_on_the_command_line_is_refused(
    app: typer.Typer, command: str, url: str
) -> None:
    result = CliRunner().invoke(app, [*command.split(), url])
    assert result.exit_code == 2
    assert "a password on the command line is seen by every user of this machine" in result.output
    assert "hunter2" not in result.output


@pytest.mark.parametrize("settings", [WmsSettings, MqsSettings])
def test_a_url_with_a_password_may_come_from_the_environment(
    settings: type[WmsSettings] | type[MqsSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{settings.model_config['env_prefix']}DATABASE", IN_PLACE)
    assert settings().database == IN_PLACE


@pytest.mark.parametrize("url", [SERVER, f"{SERVER}?password_file=/run/secret", "embedded"])
def test_a_url_without_a_password_may_be_an_option(url: str) -> None:
    refuse_password(url, "EWMS_WMS_DATABASE")


@pytest.mark.parametrize("settings", [WmsSettings, MqsSettings])
def test_a_pooler_needs_the_server_behind_it(
    settings: type[WmsSettings] | type[MqsSettings],
) -> None:
    with pytest.raises(ValueError, match="`pooled` needs `database_direct`"):
        settings(database=SERVER, pooled=True)
    with pytest.raises(ValueError, match="goes with the URL of a pooler"):
        settings(database_direct=SERVER)
    with pytest.raises(ValueError, match="begins with postgresql://"):
        settings(database=SERVER, pooled=True, database_direct="mysql://x")
    assert settings(database=SERVER, pooled=True, database_direct=SERVER).pooled


def test_the_driver_is_not_told_of_the_password_file() -> None:
    address = driver_address("postgresql+asyncpg://u@h/d?sslmode=require&password_file=/run/p")
    assert address["dsn"] == "postgresql://u@h/d?sslmode=require"
    assert callable(address["password"])
    assert driver_address(SERVER) == {"dsn": SERVER}
    with pytest.raises(ValueError, match="begins with postgresql://"):
        driver_address("mysql://x")
