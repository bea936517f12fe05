"""Every setting of the WMS, from the environment (`EWMS_WMS_<NAME>`) or the command line."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from wms_grpc.domain.submission import ClusterLocation, ClusterLocations

__all__ = ["WmsSettings"]


class LocationSetting(BaseModel):
    """A cluster location: the schedd that its taskforces go to, and its other names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schedd: str
    aliases: tuple[str, ...] = ()
    max_idle_workers: int = Field(default=10_000, ge=1)


class WmsSettings(BaseSettings):
    """The settings of `ewms wms`."""

    model_config = SettingsConfigDict(env_prefix="EWMS_WMS_", frozen=True)

    listen: str = Field("127.0.0.1:50051", description="HOST:PORT to serve on; port 0 takes any")
    insecure: bool = Field(False, description="listen beyond loopback without encryption")
    database: str = Field("embedded", description="`embedded`, or postgresql://…")
    data: Path = Field(Path("ewms-data"), description="folder of the embedded database")
    mqs: str = Field("127.0.0.1:50052", description="HOST:PORT of the MQS")
    mqs_insecure: bool = Field(False, description="plain text to an MQS beyond loopback")
    cluster_locations: dict[str, LocationSetting] = Field(
        {
            "local": LocationSetting(schedd="local"),
            "osg": LocationSetting(schedd="osg", aliases=("sub-2",)),
        },
        description="cluster locations by name, as JSON",
    )
    agent_lease: timedelta = Field(
        timedelta(seconds=30), description="how long an agent holds its schedd"
    )
    stop_grace: timedelta = Field(
        timedelta(seconds=30), description="for how long workers of a task that is done may run on"
    )
    feed_retention: timedelta = Field(
        timedelta(days=7), description="how long revisions are kept to resume from"
    )
    write_timeout: timedelta = Field(
        timedelta(seconds=60), description="how long a subscriber may take nothing"
    )
    max_connections: int = Field(16, ge=4, description="most connections to the database")
    pooled: bool = Field(False, description="the URL is a pooler's in transaction mode")
    json_logs: bool = Field(False, description="log as JSON")
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR")

    @property
    def locations(self) -> ClusterLocations:
        """The cluster locations."""
        return ClusterLocations(
            ClusterLocation(name, setting.schedd, setting.aliases, setting.max_idle_workers)
            for name, setting in self.cluster_locations.items()
        )
