"""`ewms up`: the whole stack in the foreground, from one command.

Only what reads the command line is imported here; the parts import for themselves, at the same
time and in processes of their own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ewms_postgres.data_folder import DataFolderInUse, DataFolderTooNew, claim_data_folder
from ewms_rpc.running import run
from wms_grpc.stack import PartFailed, StackSettings, run_stack

__all__ = ["app"]

app = typer.Typer()


@app.callback()
def _group() -> None:
    """The stack as one."""


@app.command()
def up(
    data: Annotated[
        Path, typer.Option(envvar="EWMS_UP_DATA", help="Folder of everything it keeps.")
    ] = Path("ewms-data"),
    wms: Annotated[
        str,
        typer.Option(
            envvar="EWMS_UP_WMS", metavar="HOST:PORT", help="Where the WMS serves; port 0: any."
        ),
    ] = "127.0.0.1:50051",
    mqs: Annotated[
        str,
        typer.Option(
            envvar="EWMS_UP_MQS", metavar="HOST:PORT", help="Where the MQS serves; port 0: any."
        ),
    ] = "127.0.0.1:50052",
    slots: Annotated[
        int | None,
        typer.Option(envvar="EWMS_UP_SLOTS", min=1, help="Workers that run at once on this host."),
    ] = None,
    insecure: Annotated[
        bool,
        typer.Option(
            "--insecure", envvar="EWMS_UP_INSECURE", help="Listen beyond loopback, unencrypted."
        ),
    ] = False,
    log_json: Annotated[
        bool, typer.Option("--log-json", envvar="EWMS_UP_LOG_JSON", help="Log as JSON.")
    ] = False,
) -> None:
    """Run WMS, MQS and TMS with a PostgreSQL of their own until SIGTERM or Ctrl-C.

    Prints a line that begins with `ready` once everything answers. What dies is started again.
    Further settings of the parts are taken from the environment (EWMS_WMS_…, EWMS_MQS_…,
    EWMS_TMS_…). Logs go to stderr, each line with its part.
    """
    try:
        with claim_data_folder(data.absolute()) as folder:
            settings = StackSettings(folder, wms, mqs, slots, insecure, log_json)
            run(lambda stop: run_stack(settings, stop, typer.echo))
    except* (DataFolderInUse, DataFolderTooNew, PartFailed, OSError, ValueError) as group:
        for error in _each(group):
            typer.echo(f"ewms up: {error}", err=True)
        raise typer.Exit(1) from None


def _each(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _each(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
