"""An MQS for tests, on any broker: restarted at will, its queues reached as users and pilots do.

All that a test does goes through the MQS's services and the client library, so that a suite written
against it asks every broker the same.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import grpc

from ewms.mqs.v1 import mqs_service_pb2 as pb
from ewms.mqs.v1.event_service_pb2_grpc import EventServiceStub
from ewms.mqs.v1.mqs_service_pb2_grpc import MqsServiceStub
from ewms.wms.v1 import workflow_service_pb2 as wms_pb
from ewms_client.consumer import Consumer
from ewms_client.delivery import Delivery
from ewms_client.errors import Unavailable
from ewms_client.events import Events
from ewms_client.publishing import publish_events
from ewms_client.queue_access import QueueAccess
from ewms_mqs.brokers import Capabilities
from ewms_mqs.brokers.postgres import PostgresBroker
from ewms_mqs.brokers.rabbitmq import RabbitBroker
from ewms_mqs.config import MqsSettings
from ewms_mqs.server import mqs_server
from ewms_rpc.channel import open_channel

if TYPE_CHECKING:
    from ewms.mqs.v1.event_service_pb2_grpc import EventServiceAsyncStub
    from ewms.mqs.v1.mqs_service_pb2_grpc import MqsServiceAsyncStub

WORKFLOW = "WF-1"
MAX_DELIVERIES = 3


class MqsUnderTest:
    """The MQS, and the way into its queues. `broker_settings` say where they are."""

    def __init__(
        self, database: str, broker_settings: Mapping[str, object], **settings: object
    ) -> None:
        chosen: dict[str, Any] = {
            "database": database,
            "listen": "127.0.0.1:0",
            # Longer than a count of RabbitMQ is old, as the tests' node is set up.
            "drain_quiet": timedelta(seconds=4),
            "max_deliveries": MAX_DELIVERIES,
            "lease": timedelta(seconds=2),
        }
        self._settings = MqsSettings(**{**chosen, **broker_settings, **settings})
        broker = RabbitBroker if self._settings.broker == "rabbitmq" else PostgresBroker
        self.capabilities: Capabilities = broker.capabilities
        self._stack = AsyncExitStack()
        self._channel: grpc.aio.Channel | None = None
        self._is_up = False
        self.n_tokens = 0
        self.key_ids: set[str] = set()
        self._requests: dict[str, pb.RequestQueuesRequest] = {}
        self.mqids: dict[str, str] = {}

    async def start(self) -> None:
        running = await self._stack.enter_async_context(mqs_server(self._settings))
        self._settings = self._settings.model_copy(update={"listen": running.address})
        self.address = running.address
        if self._channel is None:
            self._channel = open_channel(running.address)
            self.mqs: MqsServiceAsyncStub = MqsServiceStub(self._channel)
            self.events: EventServiceAsyncStub = EventServiceStub(self._channel)
        await self._channel.channel_ready()
        self._is_up = True

    async def stop(self) -> None:
        """Stop it; its clients notice, and may go on when it is started again."""
        self._is_up = False
        stack, self._stack = self._stack, AsyncExitStack()
        await stack.aclose()

    async def end(self) -> None:
        """Stop it for good."""
        await self.stop()
        if self._channel is not None:
            await self._channel.close()

    async def grant(self, *aliases: str, workflow: str = WORKFLOW) -> pb.RequestQueuesResponse:
        specs = [pb.QueueSpec(mqid=secrets.token_hex(16), alias=a, is_public=True) for a in aliases]
        self.mqids |= {spec.alias: spec.mqid for spec in specs}
        request = pb.RequestQueuesRequest(workflow_id=workflow, queues=specs)
        self._requests[workflow] = request
        return await self.mqs.RequestQueues(request)

    async def until_refused(self) -> tuple[str, str]:
        """A workflow that was told to ask again later, and why: as soon as one is."""
        async with asyncio.timeout(60):
            while True:
                workflow = f"WF-{secrets.token_hex(4)}"
                answer = await self.grant("more", workflow=workflow)
                if answer.HasField("try_again_later"):
                    return workflow, answer.try_again_later.reason
                await asyncio.sleep(0.2)

    async def until_granted(self, workflow: str) -> None:
        """Ask again for what was refused, until it is granted."""
        async with asyncio.timeout(60):
            while True:
                answer = await self.mqs.RequestQueues(self._requests[workflow])
                if answer.HasField("granted"):
                    return
                await asyncio.sleep(0.2)

    async def release(self, workflow: str = WORKFLOW) -> None:
        """Give the queues of a workflow up."""
        await self.mqs.ReleaseQueues(pb.ReleaseQueuesRequest(workflow_id=workflow))

    async def profile(self, alias: str, workflow: str = WORKFLOW) -> pb.QueueProfile:
        """A queue's profile with a token, as the WMS gets it."""
        self.n_tokens += 1
        request = pb.RefreshTokensRequest(workflow_id=workflow, mqids=[self.mqids[alias]])
        profile = (await self.mqs.RefreshTokens(request)).profiles[0]
        head = profile.auth_token.partition(".")[0]
        self.key_ids.add(json.loads(base64.urlsafe_b64decode(head + "=="))["kid"])
        return profile

    async def credential(self) -> str:
        """A pilot's credential."""
        request = pb.RefreshTokensRequest(workflow_id=WORKFLOW, taskforce_uuid="TF-1")
        return (await self.mqs.RefreshTokens(request)).pilot_credential

    async def access(self, alias: str, mqid: str = "") -> QueueAccess:
        """What `ewms_client` has of a queue; with `mqid`, an intruder's, of another queue."""

        async def look_up() -> wms_pb.PublicQueue:
            if not self._is_up:
                raise Unavailable("the MQS is away")
            profile = await self.profile(alias)
            return wms_pb.PublicQueue(
                alias=alias,
                mqid=mqid or profile.mqid,
                is_activated=True,
                broker_type=profile.broker_type,
                broker_address=profile.broker_address,
                auth_token=profile.auth_token,
                token_expire_time=profile.token_expire_time,
                is_closed=profile.is_closed,
                is_drained=profile.is_drained,
            )

        return QueueAccess(await look_up(), look_up, lambda _address, _tls: self.events)

    async def publish(self, alias: str, events: Events) -> int:
        return await publish_events(await self.access(alias), events, patience=600)

    def consume(self, alias: str, count: int | None = None, credit: int = 32) -> Consumer:
        return Consumer(
            lambda: self.access(alias), count=count, credit=credit, name="test", patience=600
        )

    async def stats(self, alias: str, workflow: str = WORKFLOW) -> pb.QueueStats:
        answer = await self.mqs.GetQueueStats(pb.GetQueueStatsRequest(workflow_id=workflow))
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

    async def until_gone(self) -> None:
        """Return once the MQS has none of the workflow's queues any more."""
        request = pb.GetQueueProfilesRequest(workflow_id=WORKFLOW)
        async with asyncio.timeout(60):
            while True:
                if not (await self.mqs.GetQueueProfiles(request)).profiles:
                    return
                await asyncio.sleep(0.1)

    async def close(self, alias: str) -> None:
        request = pb.CloseQueueRequest(workflow_id=WORKFLOW, mqids=[self.mqids[alias]])
        await self.mqs.CloseQueue(request)

    async def dead_letters(self, alias: str) -> list[pb.DeadLetter]:
        request = pb.ListDeadLettersRequest(mqid=self.mqids[alias])
        return list((await self.mqs.ListDeadLetters(request)).dead_letters)

    async def requeue(self, alias: str, *dead_letter_ids: str) -> int:
        """Put these dead letters back, or all."""
        request = pb.RequeueDeadLettersRequest(
            mqid=self.mqids[alias], dead_letter_ids=dead_letter_ids
        )
        return (await self.mqs.RequeueDeadLetters(request)).n_requeued

    async def received(self, alias: str, count: int) -> list[Delivery]:
        """So many deliveries, each acknowledged."""
        got = []
        async with self.consume(alias, count) as deliveries:
            async for delivery in deliveries:
                await delivery.ack()
                got.append(delivery)
        return got


StartMqs = Callable[..., Awaitable[MqsUnderTest]]
"""Starts one with settings, and grants it a workflow with the queues `in` and `out`."""
