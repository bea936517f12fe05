"""The command `ewms` imports no more than it needs, and says what is not installed."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import typer
from typer.testing import CliRunner

from ewms_client import cli


@dataclass
class Point:
    """An entry point that notes when it is loaded."""

    name: str
    loaded: list[str]
    missing: str = ""

    def load(self) -> typer.Typer:
        self.loaded.append(self.name)
        if self.missing:
            raise ModuleNotFoundError(f"No module named {self.missing!r}", name=self.missing)
        app = typer.Typer()
        commands = {"client": ["list", "show"], "wms": ["wms", "db"]}
        for command in commands[self.name]:
            app.command(command)(lambda: typer.echo("ran"))
        return app


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of the entry points in the order of their loading; `mqs` lacks a module."""
    loaded: list[str] = []
    points = [Point("mqs", loaded, "asyncpg"), Point("wms", loaded), Point("client", loaded)]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points)
    for cached in (cli._parts, cli._commands_of):
        cached.cache_clear()
    yield loaded
    for cached in (cli._parts, cli._commands_of):
        cached.cache_clear()


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli._app, arguments, prog_name="ewms")
    return result.exit_code, result.output


def test_a_command_of_the_client_loads_the_client_alone(loaded: list[str]) -> None:
    assert run("list") == (0, "ran\n")
    assert loaded == ["client"]


def test_a_part_named_like_the_command_is_loaded_first(loaded: list[str]) -> None:
    assert run("wms") == (0, "ran\n")
    assert loaded == ["wms"]


def test_a_command_of_any_part_is_found(loaded: list[str]) -> None:
    assert run("db") == (0, "ran\n")


def test_help_lists_all_commands_and_the_exit_codes(loaded: list[str]) -> None:
    code, output = run("--help")

    assert code == 0
    listed = [line.split()[0] for line in output.partition("Commands:")[2].splitlines() if line]
    assert listed[:5] == ["list", "show", "mqs", "wms", "db"]
    assert "3 not found" in output


def test_a_part_that_is_not_installed_says_which_extra_brings_it(loaded: list[str]) -> None:
    code, output = run("mqs", "--listen", "127.0.0.1:0")

    assert code == 1
    assert "pip install 'ewms-grpc[server]'" in output


def test_an_unknown_command_is_wrong_usage(loaded: list[str]) -> None:
    assert run("nonsense")[0] == 2


def test_the_client_needs_nothing_of_the_servers_extra() -> None:
    program = """
import sys
import ewms_client.commands
servers = {"asyncpg", "sqlalchemy", "structlog", "prometheus_client", "joserfc", "orjson"}
sys.exit(", ".join(servers & set(sys.modules)) or 0)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert ended.returncode == 0, ended.stderr
