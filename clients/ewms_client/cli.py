"""The command `ewms`. Its subcommands come from the entry points of the group `ewms.commands`, each
a Typer application; one is imported only when its name is asked for, so that a client's command
does not wait for a server's imports. A part that is not installed says which extra brings it.

Entry points are named after what they bring: asked for `mqs`, the one of that name is tried first.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["main"]

_GROUP = "ewms.commands"
_DISTRIBUTION = "ewms-grpc"
_CLIENT = "client"
_SERVER = "server"
_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+).*extra == .(?P<extra>[a-z]+)")

_HELP = """Event Workflow Management System.

Every command of the client finds the server by --wms HOST:PORT or EWMS_WMS. With --json it prints
messages in the protobuf JSON mapping, one object a line, and errors as one JSON object on stderr.
Beyond this machine it speaks TLS, unless EWMS_INSECURE=1 allows plain text; --wms-ca and --mqs-ca,
which go before the command, name the CAs of certificates that are not publicly trusted.

Exit codes: 0 done; 1 something else failed; 2 wrong usage; 3 not found; 4 invalid argument;
5 not possible in this state; 6 unavailable, try again; 7 not in time; 8 the workflow failed or was
aborted; 9 not allowed; 130 interrupted.
"""


class _PartMissing(Exception):
    """A part's commands cannot be imported, for want of `module`."""

    def __init__(self, part: str, module: str) -> None:
        remedy = f"pip install '{_DISTRIBUTION}[{_extra_with(module)}]'"
        super().__init__(f"`ewms {part}` needs {module!r}, which is not installed: {remedy}")


class _Commands(TyperGroup):
    """The merged commands of all parts."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        names: list[str] = []
        for part in _parts():
            try:
                names += _commands_of(part)
            except _PartMissing:
                names.append(part)
        return list(dict.fromkeys(names))

    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]
        missing: dict[str, _PartMissing] = {}
        for part in _in_order_of_promise(cmd_name):
            try:
                commands = _commands_of(part)
            except _PartMissing as error:
                missing[part] = error
                continue
            if cmd_name in commands:
                return commands[cmd_name]
        if cmd_name in missing:
            return _unavailable(cmd_name, missing[cmd_name])
        return None


def _in_order_of_promise(command: str) -> Iterator[str]:
    parts = list(_parts())
    yield from sorted(parts, key=lambda part: (part != command, part != _CLIENT))


@cache
def _parts() -> Mapping[str, EntryPoint]:
    found = importlib.metadata.entry_points(group=_GROUP)
    return {point.name: point for point in sorted(found, key=lambda point: point.name != _CLIENT)}


@cache
def _commands_of(part: str) -> Mapping[str, Any]:
    try:
        app = _parts()[part].load()
    except ModuleNotFoundError as error:
        raise _PartMissing(part, error.name or "?") from None
    commands: Mapping[str, Any] = typer.main.get_group(app).commands
    return commands


def _extra_with(module: str) -> str:
    """The extra that a module comes with, by the names of what each extra requires."""
    wanted = module.partition(".")[0].replace("_", "-").lower()
    extras = {
        found["extra"]
        for requirement in importlib.metadata.requires(_DISTRIBUTION) or ()
        if (found := _REQUIREMENT.match(requirement)) and found["name"].lower() == wanted
    }
    # The developers' extra brings everything; a user needs less.
    return min(extras - {"dev"}, default=_SERVER)


def _unavailable(name: str, missing: _PartMissing) -> Any:
    app = typer.Typer(add_completion=False)

    @app.command(
        name,
        help=f"(not installed: {missing})",
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )
    def explain() -> None:
        typer.echo(str(missing), err=True)
        raise typer.Exit(1)

    return typer.main.get_group(app).commands[name]


_app = typer.Typer(cls=_Commands, help=_HELP, no_args_is_help=True, rich_markup_mode=None)


@_app.callback()
def _root(
    wms_ca: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="CA of the WMS's certificate. [env: EWMS_WMS_CA]"),
    ] = None,
    mqs_ca: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="CA of the MQS's certificate. [env: EWMS_MQS_CA]"),
    ] = None,
) -> None:
    for variable, file in (("EWMS_WMS_CA", wms_ca), ("EWMS_MQS_CA", mqs_ca)):
        if file is not None:
            os.environ[variable] = file


def main() -> None:
    """Run `ewms` with the arguments of the process, and exit with its code."""
    try:
        _app(prog_name="ewms")
    except KeyboardInterrupt:
        sys.exit(130)
