"""The MQS's composition root: the one place where its parts are wired together.

Guarantees that the schema is current and a key is there before anything is served, and that no
task is left behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import typer

from ewms.mqs.v1 import event_service_pb2, mqs_service_pb2
from ewms_mqs.access import Access
from ewms_mqs.background import background_tasks, repeat
from ewms_mqs.brokers import Broker
from ewms_mqs.brokers.postgres_upkeep import (
    collect_garbage,
    count_kept_events,
    forget_old_ids,
    roll_up_counts,
)
from ewms_mqs.brokers.running import RunningBroker, open_broker
from ewms_mqs.config import MqsSettings
from ewms_mqs.consuming import Consuming
from ewms_mqs.credentials import Credentials
from ewms_mqs.draining import Draining
from ewms_mqs.errors import rpc_error_of
from ewms_mqs.event_service import EventServicer
from ewms_mqs.grants import Grants
from ewms_mqs.jwks_http import jwks_tls, serve_jwks
from ewms_mqs.keys import KeyRing
from ewms_mqs.messages import BrokerAddress, Profiles
from ewms_mqs.metrics import mqs_metrics
from ewms_mqs.mqs_service import MqsServicer
from ewms_mqs.publishing import Publishing
from ewms_mqs.register import Register
from ewms_mqs.retention import Retention
from ewms_mqs.schema import MIGRATIONS, SCHEMA
from ewms_mqs.signals import CHANNELS, Signals
from ewms_mqs.tokens import Tokens
from ewms_mqs.watching import Watching
from ewms_postgres.database import Database, open_database
from ewms_postgres.embedded import database_from
from ewms_postgres.migrations import bring_schema
from ewms_postgres.notifications import Listener, Notifier
from ewms_postgres.shares import beside_calls
from ewms_rpc.metrics_http import serve_metrics
from ewms_rpc.serving import RpcServer, ServerSettings, Service, require_listenable
from ewms_rpc.stacks import StackMembers

__all__ = ["MIGRATIONS", "SCHEMA", "RunningMqs", "mqs_server", "run_mqs"]

_COUNT_SECONDS = 1.0
_TIDY_SECONDS = 5.0
_KEYS_SECONDS = 60.0


@dataclass(frozen=True)
class RunningMqs:
    """An MQS that serves. `address` is HOST:PORT, the others too, or empty."""

    rpc: RpcServer
    address: str
    jwks_address: str
    metrics_address: str


async def run_mqs(settings: MqsSettings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then drain. Says on stdout where it listens, once it does."""
    async with mqs_server(settings) as running:
        typer.echo(f"listening on {running.address}")
        await running.rpc.serve(stop)


@asynccontextmanager
async def mqs_server(settings: MqsSettings) -> AsyncIterator[RunningMqs]:
    """An MQS, for as long as the block runs; it serves when the block begins.

    Raises DatabaseUnavailable, DatabaseTooNew, DatabaseTooOld, EmbeddedPostgresError,
    NotAnAddress, NotLoopback, CannotListen (OSError for the address of the keys) when it cannot
    start; what is wrong with the address itself before the database is touched.
    """
    serving = ServerSettings(listen=settings.listen, insecure=settings.insecure, tls=settings.tls)
    require_listenable(serving)
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(database_from(settings.database, settings.data))
        # What needs a session of its own goes around a pooler.
        direct = settings.database_direct or url
        await bring_schema(
            direct,
            script_location=MIGRATIONS,
            schema=SCHEMA,
            is_embedded=settings.database == "embedded",
        )
        database = await stack.enter_async_context(
            open_database(
                url,
                application_name="ewms-mqs",
                max_size=settings.connections,
                pooled=settings.pooled,
            )
        )
        notifier = Notifier(direct, application_name="ewms-mqs-notifier")
        signals = Signals(await stack.enter_async_context(notifier))
        draining = Draining(database, signals)
        opened = open_broker(
            database, direct, settings, on_ready=signals.ready, on_suspicion=draining.suspect
        )
        broker = await stack.enter_async_context(opened)
        tasks = await stack.enter_async_context(background_tasks())
        parts = _wired(database, signals, tasks, broker, draining, settings)
        await parts.keys.ensure_current()
        rpc = RpcServer(
            serving,
            parts.services,
            error_table=rpc_error_of,
            authenticator=StackMembers(settings.stack),
        )
        await stack.enter_async_context(rpc)
        parts.broker_address.text = broker.address or settings.advertise or rpc.address
        _start_loops(tasks, parts, direct, database, settings)
        jwks_address = ""
        if settings.jwks:
            jwks = serve_jwks(settings.jwks, parts.keys.jwks_json, jwks_tls(settings))
            jwks_address = await stack.enter_async_context(jwks)
        metrics = serve_metrics(settings.metrics, mqs_metrics(database, settings))
        metrics_address = await stack.enter_async_context(metrics)
        yield RunningMqs(rpc, rpc.address, jwks_address, metrics_address)


@dataclass(frozen=True)
class _Parts:
    """What is wired together, as far as it is needed after that."""

    signals: Signals
    broker: Broker
    loops: Sequence[Callable[[], Coroutine[Any, Any, None]]]
    keys: KeyRing
    publishing: Publishing
    consuming: Consuming
    draining: Draining
    retention: Retention
    watching: Watching
    broker_address: BrokerAddress
    services: tuple[Service, ...]


def _wired(
    database: Database,
    signals: Signals,
    tasks: asyncio.TaskGroup,
    running: RunningBroker,
    draining: Draining,
    settings: MqsSettings,
) -> _Parts:
    broker = running.broker
    register = Register(database)
    keys = KeyRing(database, signals, settings)
    tokens = Tokens(keys, settings)
    credentials = Credentials(database, keys)
    publishing = Publishing(broker, settings)
    consuming = Consuming(broker, register, tasks)
    retention = Retention(database, register, broker, draining, signals, settings)
    watching = Watching(register, broker, consuming)
    broker_address = BrokerAddress(
        is_tls=running.is_tls if running.address else settings.tls is not None
    )
    profiles = Profiles(broker.type, broker_address)
    events = EventServicer(
        Access(register, tokens, credentials, broker, broker_address),
        register, publishing, consuming, tokens, profiles, settings,
    )  # fmt: skip
    mqs = MqsServicer(
        register, broker, Grants(database, register, broker, signals, settings),
        draining, retention, keys, tokens, credentials, watching, profiles, settings,
    )  # fmt: skip
    services = (
        Service(mqs_service_pb2.DESCRIPTOR.services_by_name["MqsService"], mqs),
        Service(event_service_pb2.DESCRIPTOR.services_by_name["EventService"], events),
    )
    signals.on_ready.append(consuming.heard_ready)
    signals.on_changed += [consuming.heard_changed, watching.heard_changed]
    return _Parts(
        signals, broker, running.loops, keys, publishing, consuming, draining, retention, watching,
        broker_address, services,
    )  # fmt: skip


def _start_loops(
    tasks: asyncio.TaskGroup, parts: _Parts, direct: str, database: Database, settings: MqsSettings
) -> None:
    listener = Listener(
        direct,
        CHANNELS,
        on_notification=parts.signals.received,
        on_gap=parts.signals.missed,
        application_name="ewms-mqs-listener",
    )

    async def count() -> None:
        for queue in await roll_up_counts(database):
            parts.signals.changed(queue)
        parts.publishing.note_kept(await count_kept_events(database))

    async def tidy() -> None:
        await parts.retention.remove_spent()
        await collect_garbage(database)
        await forget_old_ids(database, settings)

    loops = (
        listener.run(),
        *(loop() for loop in parts.loops),
        parts.consuming.run(),
        parts.watching.run(),
        parts.draining.run(parts.broker),
        repeat("counts", _COUNT_SECONDS, count),
        repeat("tidying", _TIDY_SECONDS, tidy),
        repeat("keys", _keys_seconds(settings), parts.keys.ensure_current),
    )
    with beside_calls():
        for loop in loops:
            tasks.create_task(loop)


def _keys_seconds(settings: MqsSettings) -> float:
    """Often enough that a new key is there well before the old one has signed its last token."""
    return min(_KEYS_SECONDS, settings.key_rotation.total_seconds() / 4)
