"""Every setting of the WMS, from the environment (`EWMS_WMS_<NAME>`) or the command line."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from ewms_postgres.address import require_direct_address
from ewms_rpc.addresses import optional_tcp_address
from ewms_rpc.server_tls import ServerTls, server_tls
from ewms_rpc.tls import require_pair
from wms_grpc.domain.submission import ClusterLocation, ClusterLocations

__all__ = ["WmsSettings"]


def _seconds(value: object) -> object:
    """A bare number, as the environment and the command line have it, is seconds."""
    try:
        return timedelta(seconds=float(value)) if isinstance(value, str) else value
    except ValueError:
        return value


def _json(value: object) -> object:
    return json.loads(value) if isinstance(value, str) else value


Duration = Annotated[timedelta, BeforeValidator(_seconds), Field(gt=timedelta(0))]


class LocationSetting(BaseModel):
    """A cluster location: the schedd that its taskforces go to, and its other names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schedd: str
    aliases: tuple[str, ...] = ()
    max_idle_workers: int = Field(default=10_000, ge=1)


def _distinct(locations: dict[str, LocationSetting]) -> dict[str, LocationSetting]:
    _cluster_locations(locations)
    return locations


def _cluster_locations(settings: dict[str, LocationSetting]) -> ClusterLocations:
    return ClusterLocations(
        ClusterLocation(name, setting.schedd, setting.aliases, setting.max_idle_workers)
        for name, setting in settings.items()
    )


class WmsSettings(BaseSettings):
    """The settings of `ewms wms`. Durations are in seconds or as ISO 8601 (`PT1H`)."""

    model_config = SettingsConfigDict(env_prefix="EWMS_WMS_", frozen=True)

    listen: str = Field("127.0.0.1:50051", description="HOST:PORT to serve on; port 0 takes any")
    insecure: bool = Field(False, description="listen beyond loopback without encryption")
    tls_cert: Path | None = Field(
        None, description="pEM file of its certificate chain; with `tls_key` it speaks TLS"
    )
    tls_key: Path | None = Field(None, description="pEM file of the certificate's key")
    tls_client_ca: Path | None = Field(
        None, description="pEM file of a CA of which every client must have a certificate"
    )
    database: str = Field("embedded", description="`embedded`, or postgresql://…")
    pooled: bool = Field(
        False, description="`database` is a pooler's in transaction mode; needs `database_direct`"
    )
    database_direct: str = Field(
        "",
        description="URL of the server itself, for listening, elections and migrations;"
        " by default `database`",
    )
    data: Path = Field(Path("ewms-data"), description="folder of the embedded database")
    mqs: str = Field("127.0.0.1:50052", description="HOST:PORT of the MQS")
    mqs_ca: Path | None = Field(
        None, description="PEM file of the CA of the MQS's certificate; with it, the MQS speaks TLS"
    )
    mqs_cert: Path | None = Field(None, description="PEM file of a certificate to show to the MQS")
    mqs_key: Path | None = Field(None, description="PEM file of that certificate's key")
    mqs_insecure: bool = Field(False, description="plain text to an MQS beyond loopback")
    cluster_locations: Annotated[
        dict[str, LocationSetting], BeforeValidator(_json), AfterValidator(_distinct)
    ] = Field(
        {
            "local": LocationSetting(schedd="local"),
            "osg": LocationSetting(schedd="osg", aliases=("sub-2",)),
        },
        description="cluster locations by name, as JSON",
    )
    agent_lease: Duration = Field(
        timedelta(seconds=30), description="how long an agent holds its schedd"
    )
    stop_grace: Duration = Field(
        timedelta(seconds=30), description="for how long workers of a task that is done may run on"
    )
    feed_retention: Duration = Field(
        timedelta(days=7), description="how long revisions are kept to resume from"
    )
    write_timeout: Duration = Field(
        timedelta(seconds=60), description="how long a subscriber may take nothing"
    )
    max_connections: int = Field(16, ge=4, description="most connections to the database")
    metrics: Annotated[str, AfterValidator(optional_tcp_address)] = Field(
        "", description="HOST:PORT of the metrics for Prometheus; by default not served"
    )
    stack: str = Field("", description="set by `ewms up`: parts of another stack are not served")
    log_json: bool = Field(False, description="log as JSON")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="least level that is logged"
    )

    @property
    def tls(self) -> ServerTls | None:
        """What it serves with; None for plain text."""
        return server_tls(self.tls_cert, self.tls_key, self.tls_client_ca)

    @model_validator(mode="after")
    def _whole_certificates(self) -> Self:
        _ = self.tls
        require_pair(self.mqs_cert, self.mqs_key)
        return self

    @model_validator(mode="after")
    def _whole_address(self) -> Self:
        require_direct_address(self.database, self.database_direct, pooled=self.pooled)
        return self

    @property
    def locations(self) -> ClusterLocations:
        """The cluster locations."""
        return _cluster_locations(self.cluster_locations)
