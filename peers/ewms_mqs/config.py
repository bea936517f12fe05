"""Every setting of the MQS: typed, with unit and default, from `EWMS_MQS_<NAME>`.

Guarantees that a value out of range is refused at start-up, by its name, and nowhere later.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from ewms_postgres.address import require_direct_address
from ewms_rpc.addresses import optional_tcp_address
from ewms_rpc.server_tls import ServerTls, server_tls
from ewms_rpc.tls import require_pair

__all__ = ["MqsSettings"]


def _seconds(value: object) -> object:
    """A bare number, as the environment and the command line have it, is seconds."""
    try:
        return timedelta(seconds=float(value)) if isinstance(value, str) else value
    except ValueError:
        return value


Duration = Annotated[timedelta, BeforeValidator(_seconds)]


class MqsSettings(BaseSettings):
    """How one MQS process runs. Durations are given in seconds or as ISO 8601 (`PT1H`)."""

    model_config = SettingsConfigDict(env_prefix="EWMS_MQS_", frozen=True)

    listen: str = Field("127.0.0.1:50052", description="HOST:PORT to serve on; port 0: a free one.")
    advertise: str = Field(
        "", description="HOST:PORT that goes into queue profiles. Default: where it listens."
    )
    insecure: bool = Field(
        False, description="Serve plain text to other machines, on a network that is trusted."
    )
    tls_cert: Path | None = Field(
        None, description="PEM file of its certificate chain; with `tls_key` it speaks TLS."
    )
    tls_key: Path | None = Field(None, description="PEM file of the certificate's key.")
    tls_client_ca: Path | None = Field(
        None, description="PEM file of a CA of which every client must have a certificate."
    )
    database: str = Field("embedded", description="`embedded`, or the URL of a PostgreSQL.")
    pooled: bool = Field(
        False, description="`database` is a pooler's in transaction mode; needs `database_direct`."
    )
    database_direct: str = Field(
        "",
        description="URL of the server itself, for listening and migrations. Default: `database`.",
    )
    data: Path = Field(Path("ewms-data"), description="Folder of the embedded PostgreSQL.")
    connections: int = Field(8, ge=2, le=200, description="Greatest number of connections.")
    jwks: str = Field(
        "", description="HOST:PORT of the public keys over HTTP(S). Default: not served."
    )
    jwks_ca: Path | None = Field(
        None,
        description="Folder of a small CA, made if it is not there, that certifies the public"
        " keys' server; a broker that fetches them over HTTPS trusts its `ca.pem`.",
    )
    jwks_cert: Path | None = Field(
        None, description="PEM file of the public keys' server, in place of `jwks_ca`."
    )
    jwks_key: Path | None = Field(None, description="PEM file of that certificate's key.")
    metrics: Annotated[str, AfterValidator(optional_tcp_address)] = Field(
        "", description="HOST:PORT of the metrics for Prometheus. Default: not served."
    )
    stack: str = Field("", description="Set by `ewms up`: parts of another stack are not served.")
    log_json: bool = Field(False, description="Log JSON instead of text.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least level that is logged."
    )

    broker: Literal["postgres", "rabbitmq"] = Field("postgres", description="Where the queues are.")
    lease: Duration = Field(
        timedelta(seconds=60),
        ge=timedelta(milliseconds=200),
        le=timedelta(days=1),
        description="How long a delivery is its consumer's, from the claim or an extension.",
    )
    max_deliveries: int = Field(
        5, ge=1, le=1000, description="So often an event is delivered before it is a dead letter."
    )
    dedup_window: Duration = Field(
        timedelta(hours=1),
        gt=timedelta(0),
        description="For how long a queue remembers an event's id, at least.",
    )

    rabbitmq_address: str = Field(
        "127.0.0.1:5672", description="HOST:PORT of RabbitMQ's AMQP, as the MQS reaches it."
    )
    rabbitmq_advertise: str = Field(
        "", description="HOST:PORT of it for clients and pilots. Default: the same."
    )
    rabbitmq_tls: bool = Field(False, description="Its AMQP speaks TLS.")
    rabbitmq_ca: Path | None = Field(
        None, description="PEM file of the CA of RabbitMQ. Default: those that Python trusts."
    )
    rabbitmq_management: str = Field(
        "http://127.0.0.1:15672", description="URL of RabbitMQ's management API."
    )
    rabbitmq_vhost: str = Field(
        "/", min_length=1, description="Virtual host, which one MQS has for itself."
    )
    rabbitmq_user: str = Field(
        "ewms-mqs", min_length=1, description="The MQS's own user, an administrator."
    )
    rabbitmq_password: SecretStr = Field(
        SecretStr(""), description="Its password; from the environment only."
    )
    rabbitmq_password_file: Path | None = Field(
        None, description="File with the password, in place of it."
    )
    rabbitmq_consumer_timeout: Duration = Field(
        timedelta(minutes=30),
        gt=timedelta(0),
        description="RabbitMQ's `consumer_timeout`, which it does not tell: a delivery that is"
        " not settled for so long ends its consumer's channel.",
    )
    drain_quiet: Duration = Field(
        timedelta(seconds=15),
        ge=timedelta(seconds=2),
        description="On RabbitMQ a closed queue is drained when it was empty for so long; longer"
        " than its `collect_statistics_interval`, since a count may be that old.",
    )

    max_queues_per_workflow: int = Field(
        100_000, ge=1, description="Most queues of one workflow; more is refused for good."
    )
    max_queues_total: int = Field(
        1_000_000, ge=1, description="Most queues at a time; beyond, workflows have to wait."
    )
    max_events_total: int = Field(
        50_000_000, ge=1, description="Most events kept; beyond, publishers have to wait."
    )
    retry_after: Duration = Field(
        timedelta(seconds=30),
        gt=timedelta(0),
        description="When to ask again for queues, or to publish again, that had no room.",
    )
    queue_retention: Duration = Field(
        timedelta(days=7),
        ge=timedelta(0),
        description="For how long a released public queue, and any dead letters, are kept.",
    )
    tombstone_life: Duration = Field(
        timedelta(days=90),
        gt=timedelta(0),
        description="For how long a released workflow is refused a late request for queues.",
    )

    token_audience: str = Field(
        "ewms-mqs", min_length=1, description="`aud` of tokens: the broker's resource server id."
    )
    token_life: Duration = Field(
        timedelta(hours=24), ge=timedelta(seconds=1), description="How long a queue's token holds."
    )
    key_rotation: Duration = Field(
        timedelta(days=30), ge=timedelta(seconds=1), description="How long a key signs tokens."
    )

    @property
    def tls(self) -> ServerTls | None:
        """What it serves with; None for plain text."""
        return server_tls(self.tls_cert, self.tls_key, self.tls_client_ca)

    @model_validator(mode="after")
    def _whole_certificates(self) -> Self:
        _ = self.tls
        require_pair(self.jwks_cert, self.jwks_key)
        return self

    @model_validator(mode="after")
    def _whole_address(self) -> Self:
        require_direct_address(self.database, self.database_direct, pooled=self.pooled)
        return self
