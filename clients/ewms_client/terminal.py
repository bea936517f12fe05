"""What the commands share at the terminal: their common options, how an answer is shown, how an
error is told, and with which code they end. Answers go to stdout and nothing else does; all the
rest goes to stderr.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any

import typer
from google.protobuf.message import Message

from ewms_client.async_client import DEFAULT_WMS, AsyncClient
from ewms_client.documents import to_json
from ewms_client.errors import (
    ClientError,
    FailedPrecondition,
    InvalidArgument,
    RpcError,
)
from ewms_client.exit_codes import ExitCode, exit_code_of

__all__ = [
    "WMS_DEFAULT",
    "Alias",
    "Json",
    "Wms",
    "WorkflowId",
    "labels_of",
    "print_json",
    "print_table",
    "print_text",
    "run",
    "say",
]

Wms = Annotated[
    str, typer.Option("--wms", envvar="EWMS_WMS", metavar="HOST:PORT", help="Where the WMS is.")
]
Json = Annotated[bool, typer.Option("--json", help="Print messages as JSON, one object a line.")]
_INSECURE = "EWMS_INSECURE"
WMS_DEFAULT = DEFAULT_WMS
WorkflowId = Annotated[str, typer.Argument(metavar="WORKFLOW", help="The workflow's id.")]
Alias = Annotated[str, typer.Argument(metavar="ALIAS", help="A public queue.")]


def run(wms: str, as_json: bool, command: Callable[[AsyncClient], Awaitable[None]]) -> None:
    """Run the command with a client. Exits with the code of its error, after telling it."""
    try:
        asyncio.run(_with_client(wms, command))
    except BrokenPipeError:
        # Whoever read stdout has enough. Nothing more may be written there, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(ExitCode.FAILURE) from None
    except (RpcError, ClientError, OSError) as error:
        _tell(error, as_json)
        raise typer.Exit(exit_code_of(error)) from None
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None


async def _with_client(wms: str, command: Callable[[AsyncClient], Awaitable[None]]) -> None:
    async with AsyncClient(wms, insecure=bool(os.environ.get(_INSECURE))) as client:
        await command(client)


def print_json(message: Message) -> None:
    """One object on a line of its own, at once."""
    print_text(to_json(message))


def print_text(text: str) -> None:
    """A line on stdout, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table for a person; without a terminal, tab-separated lines under the columns' names."""
    texts = [[str(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for line in [list(columns), *texts]:
            print_text("\t".join(line))
        return
    # Imported here, so that commands for scripts start sooner.
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in texts:
        table.add_row(*row)
    Console().print(table)


def labels_of(pairs: Sequence[str] | None) -> dict[str, str]:
    """The labels that were given as KEY=VALUE. Anything else is a wrong use."""
    for pair in pairs or ():
        if "=" not in pair:
            raise typer.BadParameter(f"{pair!r} is not KEY=VALUE", param_hint="--label")
    return dict(pair.split("=", 1) for pair in pairs or ())


def say(text: str) -> None:
    """A line for a person, on stderr."""
    typer.echo(text, err=True)


def _tell(error: RpcError | ClientError | OSError, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"error": _as_object(error)}, ensure_ascii=False), err=True)
        return
    lines = [violation.in_words() for violation in _violations(error)] or [_message(error)]
    for line in lines:
        typer.echo(f"ewms: {line}", err=True)


def _message(error: RpcError | ClientError | OSError) -> str:
    match error:
        case RpcError():
            text = error.message
        case OSError(strerror=str(reason), filename=str(file)):
            text = f"{file}: {reason.lower()}"
        case _:
            text = str(error)
    return text or type(error).__name__


def _violations(error: Exception) -> Sequence[Any]:
    return error.violations if isinstance(error, (InvalidArgument, FailedPrecondition)) else ()


def _as_object(error: RpcError | ClientError | OSError) -> dict[str, Any]:
    told: dict[str, Any] = {
        "code": error.code.name if isinstance(error, RpcError) else type(error).__name__,
        "message": _message(error),
        "exit_code": int(exit_code_of(error)),
    }
    if isinstance(error, InvalidArgument):
        told["violations"] = [
            {"field": violation.path, "description": violation.description}
            for violation in error.violations
        ]
    if isinstance(error, RpcError) and error.retry_after is not None:
        told["retry_after_seconds"] = error.retry_after.total_seconds()
    return told
