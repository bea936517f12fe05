"""The command `ewms tms`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError

from ewms_rpc import logs
from ewms_rpc.running import run
from ewms_tms.config import TmsSettings
from ewms_tms.program import CannotStart, DataFolderInUse, run_tms

__all__ = ["app"]

app = typer.Typer()


@app.callback()
def _group() -> None:
    """Programs of the TMS."""


@app.command()
def tms(
    wms: Annotated[str | None, typer.Option(help="HOST:PORT of the WMS.")] = None,
    wms_ca: Annotated[
        Path | None, typer.Option(help="PEM file of the CA of the WMS's certificate.")
    ] = None,
    wms_cert: Annotated[
        Path | None, typer.Option(help="PEM file of a certificate to show to the WMS.")
    ] = None,
    wms_key: Annotated[Path | None, typer.Option(help="PEM file of its key.")] = None,
    mqs_ca: Annotated[
        Path | None, typer.Option(help="PEM file of the CA of the MQS's certificate, for pilots.")
    ] = None,
    insecure: Annotated[
        bool | None, typer.Option("--insecure", help="Plain text to another machine.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of everything it keeps.")] = None,
    schedd: Annotated[
        list[str] | None, typer.Option(help="A schedd to be the agent of; may be repeated.")
    ] = None,
    grid: Annotated[
        str | None, typer.Option(help="What runs the workers: local or condor.")
    ] = None,
    slots: Annotated[
        int | None, typer.Option(help="Slots of the local grid: one for each core of a worker.")
    ] = None,
    runner: Annotated[
        str | None, typer.Option(help="How pilots run tasks: process or apptainer.")
    ] = None,
    pilot: Annotated[str | None, typer.Option(help="The pilot's command line.")] = None,
    pilot_image: Annotated[
        str | None, typer.Option(help="The pilot's image on HTCondor, with {tag}.")
    ] = None,
    condor_config: Annotated[
        Path | None, typer.Option(help="HTCondor's configuration file.")
    ] = None,
    condor_pool: Annotated[str | None, typer.Option(help="HOST[:PORT] of the collector.")] = None,
    condor_schedds: Annotated[
        list[str] | None, typer.Option(help="NAME=SCHEDD: HTCondor's name of a schedd.")
    ] = None,
    condor_tokens: Annotated[Path | None, typer.Option(help="Folder of tokens.")] = None,
    condor_scitoken: Annotated[Path | None, typer.Option(help="File of a SciToken.")] = None,
    condor_requirements: Annotated[
        str | None, typer.Option(help="ClassAd expression that every worker needs.")
    ] = None,
    condor_interval: Annotated[
        float | None, typer.Option(help="Seconds between looks at the pool's room.")
    ] = None,
    input_roots: Annotated[
        list[str] | None, typer.Option(help="A folder that input files may come from.")
    ] = None,
    metrics: Annotated[
        str | None, typer.Option(help="HOST:PORT of the metrics for Prometheus.")
    ] = None,
    log_json: Annotated[bool | None, typer.Option("--log-json", help="Log JSON.")] = None,
    log_level: Annotated[str | None, typer.Option(help="DEBUG, INFO, WARNING or ERROR.")] = None,
) -> None:
    """Start, watch and stop taskforces: an agent for each schedd.

    Each option is also an environment variable, EWMS_TMS_<NAME>. Prints a line that begins with
    `watching` once it is the agent of every schedd.
    """
    given: dict[str, Any] = {
        name: value for name, value in locals().items() if value is not None and value != []
    }
    try:
        settings = TmsSettings(**given)
    except ValidationError as error:
        for wrong in error.errors():
            typer.echo(f"ewms tms: {'.'.join(map(str, wrong['loc']))}: {wrong['msg']}", err=True)
        raise typer.Exit(2) from None
    except SettingsError as error:
        typer.echo(f"ewms tms: {error}", err=True)
        raise typer.Exit(2) from None
    logs.configure(settings.log_json, settings.log_level)
    try:
        run(lambda stop: _run(settings, stop))
    except (DataFolderInUse, CannotStart, OSError) as error:
        typer.echo(f"ewms tms: {error}", err=True)
        raise typer.Exit(1) from None


async def _run(settings: TmsSettings, stop: asyncio.Event) -> None:
    await run_tms(settings, stop, _announce)


def _announce(schedds: tuple[str, ...]) -> None:
    typer.echo(f"watching {' '.join(schedds)}")
    sys.stdout.flush()
