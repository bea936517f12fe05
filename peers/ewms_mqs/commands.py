"""`ewms mqs`: the queue service's own command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError

from ewms_mqs.config import MqsSettings
from ewms_mqs.server import run_mqs
from ewms_postgres.address import driver_address, refuse_password
from ewms_postgres.embedded import EmbeddedPostgresError
from ewms_postgres.errors import DatabaseError
from ewms_rpc import logs
from ewms_rpc.addresses import NotAnAddress, NotLoopback
from ewms_rpc.running import run

__all__ = ["app"]

app = typer.Typer()


def _option(name: str, *flags: str) -> Any:
    described = MqsSettings.model_fields[name].description
    return typer.Option(*flags, help=f"{described} [env: EWMS_MQS_{name.upper()}]")


@app.command()
def mqs(
    listen: Annotated[str | None, _option("listen")] = None,
    advertise: Annotated[str | None, _option("advertise")] = None,
    insecure: Annotated[bool | None, _option("insecure", "--insecure")] = None,
    tls_cert: Annotated[Path | None, _option("tls_cert")] = None,
    tls_key: Annotated[Path | None, _option("tls_key")] = None,
    tls_client_ca: Annotated[Path | None, _option("tls_client_ca")] = None,
    database: Annotated[str | None, _option("database")] = None,
    pooled: Annotated[bool | None, _option("pooled", "--pooled")] = None,
    database_direct: Annotated[str | None, _option("database_direct")] = None,
    data: Annotated[Path | None, _option("data")] = None,
    connections: Annotated[int | None, _option("connections")] = None,
    jwks: Annotated[str | None, _option("jwks")] = None,
    jwks_ca: Annotated[Path | None, _option("jwks_ca")] = None,
    jwks_cert: Annotated[Path | None, _option("jwks_cert")] = None,
    jwks_key: Annotated[Path | None, _option("jwks_key")] = None,
    metrics: Annotated[str | None, _option("metrics")] = None,
    log_json: Annotated[bool | None, _option("log_json", "--log-json")] = None,
    log_level: Annotated[str | None, _option("log_level")] = None,
    broker: Annotated[str | None, _option("broker")] = None,
    lease: Annotated[str | None, _option("lease")] = None,
    max_deliveries: Annotated[int | None, _option("max_deliveries")] = None,
    dedup_window: Annotated[str | None, _option("dedup_window")] = None,
    rabbitmq_address: Annotated[str | None, _option("rabbitmq_address")] = None,
    rabbitmq_advertise: Annotated[str | None, _option("rabbitmq_advertise")] = None,
    rabbitmq_tls: Annotated[bool | None, _option("rabbitmq_tls", "--rabbitmq-tls")] = None,
    rabbitmq_ca: Annotated[Path | None, _option("rabbitmq_ca")] = None,
    rabbitmq_management: Annotated[str | None, _option("rabbitmq_management")] = None,
    rabbitmq_vhost: Annotated[str | None, _option("rabbitmq_vhost")] = None,
    rabbitmq_user: Annotated[str | None, _option("rabbitmq_user")] = None,
    rabbitmq_password_file: Annotated[Path | None, _option("rabbitmq_password_file")] = None,
    rabbitmq_consumer_timeout: Annotated[str | None, _option("rabbitmq_consumer_timeout")] = None,
    drain_quiet: Annotated[str | None, _option("drain_quiet")] = None,
    max_queues_per_workflow: Annotated[int | None, _option("max_queues_per_workflow")] = None,
    max_queues_total: Annotated[int | None, _option("max_queues_total")] = None,
    max_events_total: Annotated[int | None, _option("max_events_total")] = None,
    retry_after: Annotated[str | None, _option("retry_after")] = None,
    queue_retention: Annotated[str | None, _option("queue_retention")] = None,
    tombstone_life: Annotated[str | None, _option("tombstone_life")] = None,
    token_audience: Annotated[str | None, _option("token_audience")] = None,
    token_life: Annotated[str | None, _option("token_life")] = None,
    key_rotation: Annotated[str | None, _option("key_rotation")] = None,
) -> None:
    """Serve queues: grant them to workflows, take events in, deliver them."""
    settings = _settings(**locals())
    logs.configure(settings.log_json, settings.log_level)
    try:
        run(lambda stop: run_mqs(settings, stop))
    except NotAnAddress as error:
        typer.echo(f"ewms mqs: listen: {error}", err=True)
        raise typer.Exit(2) from None
    except (DatabaseError, EmbeddedPostgresError, NotLoopback, OSError) as error:
        typer.echo(f"ewms mqs: {error}", err=True)
        raise typer.Exit(1) from None


def _settings(**options: Any) -> MqsSettings:
    given = {name: value for name, value in options.items() if value is not None}
    for name in ("database", "database_direct"):
        try:
            refuse_password(given.get(name, ""), f"EWMS_MQS_{name.upper()}")
        except ValueError as error:
            typer.echo(f"ewms mqs: {name}: {error}", err=True)
            raise typer.Exit(2) from None
    try:
        settings = MqsSettings(**given)
    except ValidationError as error:
        for fault in error.errors():
            typer.echo(f"ewms mqs: {'.'.join(map(str, fault['loc']))}: {fault['msg']}", err=True)
        raise typer.Exit(2) from None
    except SettingsError as error:
        typer.echo(f"ewms mqs: {error}", err=True)
        raise typer.Exit(2) from None
    try:
        if settings.database != "embedded":
            driver_address(settings.database)
    except ValueError as error:
        typer.echo(f"ewms mqs: database: {error}", err=True)
        raise typer.Exit(2) from None
    return settings
