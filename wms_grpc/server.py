"""The composition root of the WMS: the one place where its parts are wired.

One task group holds the server, the loops and the listeners; when it ends, nothing is left behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from types import ModuleType

from ewms.wms.v1 import (
    task_directive_service_pb2,
    taskforce_service_pb2,
    tms_service_pb2,
    workflow_service_pb2,
)
from ewms_postgres.database import Database, open_database
from ewms_postgres.embedded import database_from
from ewms_postgres.migrations import bring_schema
from ewms_postgres.notifications import Listener, Notifier
from ewms_postgres.shares import beside_calls
from ewms_rpc.channel import open_channel
from ewms_rpc.metrics_http import MetricSource, serve_metrics
from ewms_rpc.serving import RpcServer, ServerSettings, Service, require_listenable
from ewms_rpc.stacks import StackMembers
from ewms_rpc.tls import client_tls
from wms_grpc.api.errors import rpc_error
from wms_grpc.api.submissions import further_violations
from wms_grpc.api.task_directive_service import TaskDirectiveService
from wms_grpc.api.taskforce_service import TaskforceService
from wms_grpc.api.tms_service import TmsService
from wms_grpc.api.workflow_service import WorkflowService
from wms_grpc.config import WmsSettings
from wms_grpc.domain.topics import Topic
from wms_grpc.engine.activation import Activator
from wms_grpc.engine.draining import follow_queues, run_closing
from wms_grpc.engine.feed import Feed, FeedSettings
from wms_grpc.engine.launch import run_launch
from wms_grpc.engine.mqs import Mqs
from wms_grpc.engine.outbox import OutboxSettings
from wms_grpc.engine.pilot_tokens import PilotTokens
from wms_grpc.engine.queue_stats import QueueStatsRelay
from wms_grpc.engine.retirement import run_retirement
from wms_grpc.engine.wakeups import WAKE_CHANNEL, Wakeups
from wms_grpc.metrics import wms_metrics
from wms_grpc.schema import MIGRATIONS, SCHEMA
from wms_grpc.storage.encoded_revisions import CommittedPart
from wms_grpc.storage.store import Store

__all__ = ["MIGRATIONS", "SCHEMA", "WmsServer", "run_wms", "wms_server"]


@dataclass(frozen=True, slots=True)
class WmsServer:
    """A WMS that serves. `metrics_address` is HOST:PORT, or empty."""

    rpc: RpcServer
    store: Store
    metrics_address: str

    @property
    def address(self) -> str:
        """Where it listens, HOST:PORT."""
        return self.rpc.address


async def run_wms(
    settings: WmsSettings, stop: asyncio.Event, on_ready: Callable[[str], None]
) -> None:
    """Serve until `stop` is set, then drain. `on_ready` is given the address.

    Raises NotAnAddress and NotLoopback before the database is touched.
    """
    require_listenable(_serving(settings))
    async with database_from(settings.database, settings.data) as url:
        await bring_schema(
            settings.database_direct or url,
            script_location=MIGRATIONS,
            schema=SCHEMA,
            is_embedded=settings.database == "embedded",
        )
        async with wms_server(settings, url) as server:
            on_ready(server.address)
            await server.rpc.serve(stop)


@asynccontextmanager
async def wms_server(settings: WmsSettings, url: str) -> AsyncIterator[WmsServer]:
    """Serve a migrated database, with every loop running, until the block ends.

    What needs a session of its own goes around a pooler, to `database_direct`.
    """
    direct = settings.database_direct or url
    async with AsyncExitStack() as stack:
        db = await stack.enter_async_context(
            open_database(
                url,
                application_name="ewms-wms",
                max_size=settings.max_connections,
                pooled=settings.pooled,
            )
        )
        notifier = await stack.enter_async_context(Notifier(direct, application_name="ewms-wms"))
        channel = await stack.enter_async_context(
            # Not retried by the channel: the loops try again themselves, with the reason shown.
            open_channel(
                settings.mqs,
                insecure=settings.mqs_insecure,
                tls=client_tls(settings.mqs_ca, settings.mqs_cert, settings.mqs_key),
                stack=settings.stack,
            )
        )
        parts = _Parts(settings, direct, db, notifier, Mqs(channel, settings.mqs))
        server = await stack.enter_async_context(
            RpcServer(
                _serving(settings),
                parts.services(),
                error_table=rpc_error,
                authenticator=StackMembers(settings.stack),
            )
        )
        metrics_address = await stack.enter_async_context(
            serve_metrics(settings.metrics, parts.metrics())
        )
        group = await stack.enter_async_context(asyncio.TaskGroup())
        with beside_calls():
            loops = [group.create_task(loop) for loop in parts.loops()]
        try:
            yield WmsServer(server, parts.store, metrics_address)
        finally:
            await server.drain()
            for loop in loops:
                loop.cancel()


def _serving(settings: WmsSettings) -> ServerSettings:
    return ServerSettings(
        listen=settings.listen,
        insecure=settings.insecure,
        tls=settings.tls,
        write_timeout=settings.write_timeout.total_seconds(),
    )


class _Parts:
    """The parts of one process, made and joined."""

    def __init__(
        self, settings: WmsSettings, direct: str, db: Database, notifier: Notifier, mqs: Mqs
    ) -> None:
        self._settings = settings
        self._mqs = mqs
        self._wakeups = Wakeups(notifier.notify)
        outbox = OutboxSettings(retention=settings.feed_retention)
        self._feed = Feed(db, direct, notifier.notify, FeedSettings(outbox=outbox))
        self._listener = Listener(
            direct,
            [WAKE_CHANNEL, *Feed.channels],
            on_notification=self._heard,
            on_gap=self._missed,
            application_name="ewms-wms",
        )
        self.store = Store(db, self._committed)
        self._stats = QueueStatsRelay(mqs.stub)
        self._tokens = PilotTokens(mqs)
        self._activator = Activator(
            self.store, mqs, self._tokens, self._wakeups, settings.locations
        )

    def services(self) -> list[Service]:
        """Return what is served."""
        settings, store, locations = self._settings, self.store, self._settings.locations
        workflow_service = WorkflowService(
            store,
            self._feed,
            self._stats,
            self._mqs,
            self._activator,
            locations,
            settings.stop_grace,
        )
        tms_service = TmsService(
            store,
            self._mqs.address,
            self._tokens,
            self._wakeups,
            locations,
            settings.agent_lease,
        )
        return [
            Service(
                workflow_service_pb2.DESCRIPTOR.services_by_name["WorkflowService"],
                workflow_service,
                further_checks={
                    "SubmitWorkflow": lambda request: further_violations(request, locations)
                },
            ),
            _service(
                task_directive_service_pb2,
                "TaskDirectiveService",
                TaskDirectiveService(store, locations),
            ),
            _service(
                taskforce_service_pb2, "TaskforceService", TaskforceService(store, self._feed)
            ),
            _service(tms_service_pb2, "TmsService", tms_service),
        ]

    def metrics(self) -> list[MetricSource]:
        """Return what a scrape reads."""
        return wms_metrics(self.store.db, self._feed)

    def loops(self) -> list[Coroutine[None, None, None]]:
        """Return what runs for as long as the server does."""
        store, mqs, wakeups, grace = (
            self.store,
            self._mqs,
            self._wakeups,
            self._settings.stop_grace,
        )
        return [
            self._listener.run(),
            self._feed.run(),
            self._stats.run(),
            self._activator.run(),
            *(run_launch(store, wakeups, place) for place in self._settings.locations.all),
            run_closing(store, mqs, wakeups, grace),
            follow_queues(store, mqs, grace),
            run_retirement(store, mqs, wakeups),
        ]

    def _committed(self, parts: Sequence[CommittedPart], topics: AbstractSet[Topic]) -> None:
        self._wakeups.wake(topics)
        self._feed.committed(parts)

    def _heard(self, channel: str, payload: str) -> None:
        if channel == WAKE_CHANNEL:
            self._wakeups.heard(payload)
        else:
            self._feed.on_notification(channel, payload)

    def _missed(self) -> None:
        self._feed.missed()
        self._wakeups.wake_all()


def _service(module: ModuleType, name: str, servicer: object) -> Service:
    return Service(module.DESCRIPTOR.services_by_name[name], servicer)
