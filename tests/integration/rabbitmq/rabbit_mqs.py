"""An MQS on RabbitMQ for tests: restarted at will, its queues reached as users and pilots do."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from contextlib import AsyncExitStack
from datetime import timedelta

from rabbitmq_node import RabbitNode

from ewms.mqs.v1 import mqs_service_pb2 as pb
from ewms.mqs.v1.event_service_pb2_grpc import EventServiceStub
from ewms.mqs.v1.mqs_service_pb2_grpc import MqsServiceStub
from ewms.wms.v1 import workflow_service_pb2 as wms_pb
from ewms_client.consumer import Consumer
from ewms_client.errors import Unavailable
from ewms_client.events import Events
from ewms_client.publishing import publish_events
from ewms_client.queue_access import QueueAccess
from ewms_mqs.config import MqsSettings
from ewms_mqs.server import mqs_server
from ewms_rpc.channel import open_channel

WORKFLOW = "WF-1"


class RabbitMqs:
    """The MQS, and the way into its queues."""

    def __init__(
        self, node: RabbitNode, vhost: str, database: str, settings: dict[str, object]
    ) -> None:
        self.node = node
        self.vhost = vhost
        chosen = {
            "database": database,
            "listen": "127.0.0.1:0",
            # Twice as long as the broker takes to count, at worst.
            "drain_quiet": timedelta(seconds=6),
            "max_deliveries": 3,
        }
        self._settings = MqsSettings(**chosen | node.settings(vhost) | settings)
        self._stack = AsyncExitStack()
        self._is_up = False
        self.n_tokens = 0
        self.mqids: dict[str, str] = {}

    async def start(self) -> None:
        running = await self._stack.enter_async_context(mqs_server(self._settings))
        self._settings = self._settings.model_copy(update={"listen": running.address})
        channel = await self._stack.enter_async_context(open_channel(running.address))
        self.address = running.address
        self.mqs, self.events = MqsServiceStub(channel), EventServiceStub(channel)
        self._is_up = True

    async def stop(self) -> None:
        self._is_up = False
        stack, self._stack = self._stack, AsyncExitStack()
        await stack.aclose()

    async def grant(self, *aliases: str, workflow: str = WORKFLOW) -> pb.RequestQueuesResponse:
        specs = [pb.QueueSpec(mqid=secrets.token_hex(16), alias=a, is_public=True) for a in aliases]
        self.mqids |= {spec.alias: spec.mqid for spec in specs}
        request = pb.RequestQueuesRequest(workflow_id=workflow, queues=specs)
        return await self.mqs.RequestQueues(request)

    async def profile(self, alias: str, workflow: str = WORKFLOW) -> pb.QueueProfile:
        """A queue's profile with a token, as the WMS gets it."""
        self.n_tokens += 1
        request = pb.RefreshTokensRequest(workflow_id=workflow, mqids=[self.mqids[alias]])
        return (await self.mqs.RefreshTokens(request)).profiles[0]

    async def credential(self) -> str:
        """A pilot's credential."""
        request = pb.RefreshTokensRequest(workflow_id=WORKFLOW, taskforce_uuid="TF-1")
        return (await self.mqs.RefreshTokens(request)).pilot_credential

    async def access(self, alias: str) -> QueueAccess:
        """What `ewms_client` has of a queue."""

        async def look_up() -> wms_pb.PublicQueue:
            if not self._is_up:
                raise Unavailable("the MQS is away")
            profile = await self.profile(alias)
            return wms_pb.PublicQueue(
                alias=alias,
                mqid=profile.mqid,
                is_activated=True,
                broker_type=profile.broker_type,
                broker_address=profile.broker_address,
                auth_token=profile.auth_token,
                token_expire_time=profile.token_expire_time,
                is_closed=profile.is_closed,
                is_drained=profile.is_drained,
            )

        def no_stub(address: str, is_tls: bool) -> EventServiceStub:
            raise AssertionError("events of a queue on RabbitMQ do not go over gRPC")

        return QueueAccess(await look_up(), look_up, no_stub)

    async def publish(self, alias: str, events: Events) -> int:
        return await publish_events(await self.access(alias), events, patience=120)

    def consume(self, alias: str, count: int | None = None, credit: int = 32) -> Consumer:
        return Consumer(
            lambda: self.access(alias), count=count, credit=credit, name="test", patience=120
        )

    async def stats(self, alias: str) -> pb.QueueStats:
        answer = await self.mqs.GetQueueStats(pb.GetQueueStatsRequest(workflow_id=WORKFLOW))
        return next(stats for stats in answer.queues if stats.alias == alias)

    async def until_stats(self, alias: str, **wanted: object) -> pb.QueueStats:
        """The queue's counts as soon as they are as wanted, told by the MQS's watch."""
        request = pb.WatchQueueStatsRequest(workflow_ids=[WORKFLOW])
        request.interval.FromMilliseconds(100)
        last = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(60):
                async for response in self.mqs.WatchQueueStats(request):
                    for stats in response.queues:
                        last = stats if stats.alias == alias else last
                        if last and all(getattr(last, k) == v for k, v in wanted.items()):
                            return last
        raise AssertionError(f"wanted {wanted}, and last seen was {last}")

    async def close(self, alias: str) -> None:
        request = pb.CloseQueueRequest(workflow_id=WORKFLOW, mqids=[self.mqids[alias]])
        await self.mqs.CloseQueue(request)

    async def dead_letters(self, alias: str) -> list[pb.DeadLetter]:
        request = pb.ListDeadLettersRequest(mqid=self.mqids[alias])
        return list((await self.mqs.ListDeadLetters(request)).dead_letters)
