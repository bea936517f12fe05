"""`ewms wms` and `ewms db`: the server's own commands."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError

from ewms_postgres.errors import DatabaseError
from ewms_postgres.part_schema import DatabaseSettings, PartSchema, installed_schemas
from ewms_rpc import logs
from ewms_rpc.addresses import NotAnAddress, NotLoopback
from ewms_rpc.running import run
from wms_grpc.config import WmsSettings

__all__ = ["app"]

app = typer.Typer()
_db = typer.Typer(help="The databases of WMS and MQS.", no_args_is_help=True)
app.add_typer(_db, name="db")

_T = TypeVar("_T")
_Settings = TypeVar("_Settings", bound="DatabaseSettings")


def _option(name: str, *flags: str) -> Any:
    described = WmsSettings.model_fields[name].description
    return typer.Option(*flags, help=f"{described}. [env: EWMS_WMS_{name.upper()}]")


@app.command()
def wms(
    listen: Annotated[str | None, _option("listen")] = None,
    insecure: Annotated[bool | None, _option("insecure", "--insecure")] = None,
    tls_cert: Annotated[Path | None, _option("tls_cert")] = None,
    tls_key: Annotated[Path | None, _option("tls_key")] = None,
    tls_client_ca: Annotated[Path | None, _option("tls_client_ca")] = None,
    database: Annotated[str | None, _option("database")] = None,
    pooled: Annotated[bool | None, _option("pooled", "--pooled")] = None,
    database_direct: Annotated[str | None, _option("database_direct")] = None,
    data: Annotated[Path | None, _option("data")] = None,
    mqs: Annotated[str | None, _option("mqs")] = None,
    mqs_ca: Annotated[Path | None, _option("mqs_ca")] = None,
    mqs_cert: Annotated[Path | None, _option("mqs_cert")] = None,
    mqs_key: Annotated[Path | None, _option("mqs_key")] = None,
    mqs_insecure: Annotated[bool | None, _option("mqs_insecure", "--mqs-insecure")] = None,
    cluster_locations: Annotated[str | None, _option("cluster_locations")] = None,
    agent_lease: Annotated[str | None, _option("agent_lease")] = None,
    stop_grace: Annotated[str | None, _option("stop_grace")] = None,
    feed_retention: Annotated[str | None, _option("feed_retention")] = None,
    write_timeout: Annotated[str | None, _option("write_timeout")] = None,
    max_connections: Annotated[int | None, _option("max_connections")] = None,
    metrics: Annotated[str | None, _option("metrics")] = None,
    log_json: Annotated[bool | None, _option("log_json", "--log-json")] = None,
    log_level: Annotated[str | None, _option("log_level")] = None,
) -> None:
    """Run a WMS server. Several may run on one database URL.

    Every setting is also an environment variable, EWMS_WMS_<NAME>; an option goes before it.
    Prints `listening on HOST:PORT` once it serves.
    """
    settings = _settings(**locals())

    async def serve(stop: asyncio.Event) -> None:
        # Imported late, so that a wrong option is answered at once.
        from wms_grpc.server import run_wms

        await run_wms(settings, stop, lambda address: typer.echo(f"listening on {address}"))

    _run(serve)


@_db.command("upgrade")
def upgrade_schema(
    database: Annotated[
        str | None, typer.Option(help="Where both schemas are: postgresql://…, or `embedded`.")
    ] = None,
    wms_database: Annotated[
        str | None, typer.Option(help="Where the WMS's is. [env: EWMS_WMS_DATABASE]")
    ] = None,
    mqs_database: Annotated[
        str | None, typer.Option(help="Where the MQS's is. [env: EWMS_MQS_DATABASE]")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the embedded database. [env: EWMS_WMS_DATA and EWMS_MQS_DATA]"
        ),
    ] = None,
) -> None:
    """Bring the schemas of WMS and MQS to this version, each where its part has it.

    Refuses one that a newer version made. An embedded database is upgraded if there is one.
    """
    databases = {"wms": wms_database or database, "mqs": mqs_database or database}
    schemas = [
        (schema, *_where(schema.settings, databases.get(schema.name), data))
        for schema in installed_schemas()
    ]

    async def bring(stop: asyncio.Event) -> None:
        for schema, place, folder in schemas:
            typer.echo(f"{schema.name}: {await _upgraded(schema, place, folder)}")

    _run(bring)


def _where(
    kind: Callable[..., DatabaseSettings], database: str | None, data: Path | None
) -> tuple[str, Path]:
    """Where a part's schema is: as the option says, else the server that the part has directly."""
    if database is not None:
        # Not a pooler's, whatever the part's own settings say: the operator names the server.
        settings = _checked(kind, database=database, database_direct="", pooled=False, data=data)
        return settings.database, settings.data
    settings = _checked(kind, data=data)
    return settings.database_direct or settings.database, settings.data


async def _upgraded(schema: PartSchema, place: str, folder: Path) -> str:
    from ewms_postgres.embedded import database_from, has_embedded_postgres
    from ewms_postgres.migrations import upgrade

    if place == "embedded" and not has_embedded_postgres(folder):
        return f"no embedded database in {folder}"
    async with database_from(place, folder) as url:
        before = await upgrade(url, script_location=schema.migrations, schema=schema.name)
    return f"the schema was {before.value}, and is current"


@_db.command("renew-epoch")
def renew_feed_epoch(
    database: Annotated[str | None, _option("database")] = None,
    data: Annotated[Path | None, _option("data")] = None,
) -> None:
    """Begin a new epoch of the change feed. To be called after a restore from a backup.

    Watches then start over instead of going on from what the restored database never had.
    """
    place, folder = _where(WmsSettings, database, data)

    async def renew(stop: asyncio.Event) -> str:
        from ewms_postgres.database import open_database
        from ewms_postgres.embedded import database_from
        from wms_grpc.storage.feed import renew_epoch

        async with (
            database_from(place, folder) as url,
            open_database(url, application_name="ewms-db") as db,
        ):
            return await renew_epoch(db)

    typer.echo(_run(renew))


def _settings(**options: Any) -> WmsSettings:
    settings = _checked(WmsSettings, **options)
    logs.configure(settings.log_json, settings.log_level)
    return settings


def _checked(kind: Callable[..., _Settings], **options: Any) -> _Settings:
    given = {name: value for name, value in options.items() if value is not None}
    for name in ("database", "database_direct"):
        _require_no_password(name, given.get(name, ""))
    try:
        settings = kind(**given)
    except ValidationError as error:
        for fault in error.errors():
            typer.echo(f"ewms: {'.'.join(map(str, fault['loc']))}: {fault['msg']}", err=True)
        raise typer.Exit(2) from None
    except SettingsError as error:
        typer.echo(f"ewms: {error}", err=True)
        raise typer.Exit(2) from None
    _require_database(settings.database)
    return settings


def _require_no_password(name: str, url: str) -> None:
    from ewms_postgres.address import refuse_password

    try:
        refuse_password(url, f"the environment (EWMS_WMS_{name.upper()}, EWMS_MQS_{name.upper()})")
    except ValueError as error:
        typer.echo(f"ewms: {name}: {error}", err=True)
        raise typer.Exit(2) from None


def _require_database(database: str) -> None:
    from ewms_postgres.address import driver_address

    try:
        if database != "embedded":
            driver_address(database)
    except ValueError as error:
        typer.echo(f"ewms: database: {error}", err=True)
        raise typer.Exit(2) from None


def _run(main: Callable[[asyncio.Event], Coroutine[Any, Any, _T]]) -> _T:
    from ewms_postgres.embedded import EmbeddedPostgresError

    try:
        return run(main)
    except NotAnAddress as error:
        typer.echo(f"ewms: listen: {error}", err=True)
        raise typer.Exit(2) from None
    except (DatabaseError, EmbeddedPostgresError, NotLoopback, OSError) as error:
        typer.echo(f"ewms: {error}", err=True)
        raise typer.Exit(1) from None
