"""`ewms wms` and `ewms db`: the server's own commands."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from ewms_rpc import logs
from ewms_rpc.running import run
from wms_grpc.config import WmsSettings

__all__ = ["app"]

app = typer.Typer()
_db = typer.Typer(help="The WMS's database.", no_args_is_help=True)
app.add_typer(_db, name="db")


@app.command()
def wms(
    listen: Annotated[
        str | None, typer.Option(help="HOST:PORT to serve on. [env: EWMS_WMS_LISTEN]")
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(help="`embedded`, or postgresql://… [env: EWMS_WMS_DATABASE]"),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder of the embedded database. [env: EWMS_WMS_DATA]")
    ] = None,
    mqs: Annotated[str | None, typer.Option(help="HOST:PORT. [env: EWMS_WMS_MQS]")] = None,
    insecure: Annotated[
        bool | None,
        typer.Option(
            "--insecure", help="Listen beyond loopback, unencrypted. [env: EWMS_WMS_INSECURE]"
        ),
    ] = None,
    json_logs: Annotated[
        bool | None, typer.Option("--json-logs", help="Log as JSON. [env: EWMS_WMS_JSON_LOGS]")
    ] = None,
) -> None:
    """Run a WMS server. Several may run on one database URL.

    Every setting is also an environment variable, EWMS_WMS_<NAME>; an option goes before it.
    """
    settings = _settings(
        listen=listen,
        database=database,
        data=data,
        mqs=mqs,
        insecure=insecure,
        json_logs=json_logs,
    )

    async def serve(stop: asyncio.Event) -> None:
        # Imported late, so that a wrong option is answered at once.
        from wms_grpc.server import run_wms

        await run_wms(settings, stop, lambda address: typer.echo(f"listening on {address}"))

    run(serve)


@_db.command("upgrade")
def upgrade_schema(
    database: Annotated[
        str | None, typer.Option(help="`embedded`, or postgresql://… [env: EWMS_WMS_DATABASE]")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="[env: EWMS_WMS_DATA]")] = None,
) -> None:
    """Bring the WMS's schema to this version. Refuses one that a newer version made."""
    settings = _settings(database=database, data=data)

    async def bring(stop: asyncio.Event) -> str:
        from ewms_postgres.embedded import database_from
        from ewms_postgres.migrations import upgrade
        from wms_grpc.server import MIGRATIONS, SCHEMA

        async with database_from(settings.database, settings.data) as url:
            return (await upgrade(url, script_location=MIGRATIONS, schema=SCHEMA)).name

    typer.echo(f"the schema was {run(bring).lower()}, and is current")


@_db.command("renew-epoch")
def renew_feed_epoch(
    database: Annotated[
        str | None, typer.Option(help="`embedded`, or postgresql://… [env: EWMS_WMS_DATABASE]")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="[env: EWMS_WMS_DATA]")] = None,
) -> None:
    """Begin a new epoch of the change feed. To be called after a restore from a backup.

    Watches then start over instead of going on from what the restored database never had.
    """
    settings = _settings(database=database, data=data)

    async def renew(stop: asyncio.Event) -> str:
        from ewms_postgres.database import open_database
        from ewms_postgres.embedded import database_from
        from wms_grpc.storage.feed import renew_epoch

        async with (
            database_from(settings.database, settings.data) as url,
            open_database(url, application_name="ewms-db") as db,
        ):
            return await renew_epoch(db)

    typer.echo(run(renew))


def _settings(**options: Any) -> WmsSettings:
    given = {name: value for name, value in options.items() if value is not None}
    settings = WmsSettings(**given)
    logs.configure(settings.json_logs, settings.log_level)
    return settings
