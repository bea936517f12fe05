"""A client of the MQS as tests use it: the WMS's calls, and a user's."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import grpc

from ewms.mqs.v1 import event_service_pb2 as ev
from ewms.mqs.v1 import mqs_service_pb2 as pb
from ewms.mqs.v1.event_service_pb2_grpc import EventServiceStub
from ewms.mqs.v1.mqs_service_pb2_grpc import MqsServiceStub
from ewms_mqs.server import RunningMqs


@dataclass
class Client:
    """Speaks to one MQS process as the WMS and as a user of queues."""

    running: RunningMqs | None
    mqs: MqsServiceStub
    events: EventServiceStub

    async def grant(self, workflow_id: str, *aliases: str, private: tuple[str, ...] = ()) -> list:
        specs = [
            pb.QueueSpec(mqid=secrets.token_hex(16), alias=alias, is_public=alias not in private)
            for alias in (*aliases, *private)
        ]
        request = pb.RequestQueuesRequest(workflow_id=workflow_id, queues=specs)
        response = await self.mqs.RequestQueues(request, timeout=10)
        assert response.WhichOneof("result") == "granted"
        return await self.tokens(workflow_id)

    async def tokens(self, workflow_id: str) -> list[pb.QueueProfile]:
        request = pb.RefreshTokensRequest(workflow_id=workflow_id)
        return list((await self.mqs.RefreshTokens(request, timeout=10)).profiles)

    async def queue(self, workflow_id: str = "WF-1") -> pb.QueueProfile:
        (profile,) = await self.grant(workflow_id, "input")
        return profile

    async def publish(self, queue: pb.QueueProfile, *payloads: bytes) -> int:
        request = ev.PublishBatchRequest(
            mqid=queue.mqid, events=[ev.Event(payload=payload) for payload in payloads]
        )
        response = await self.events.PublishBatch(request, metadata=bearer(queue), timeout=10)
        return response.n_published

    async def consume(self, queue: pb.QueueProfile, credit: int = 0) -> Consumption:
        call = self.events.Consume(metadata=bearer(queue))
        await call.write(ev.ConsumeRequest(mqid=queue.mqid, credit=credit))
        opening = await call.read()
        assert opening.HasField("lease")
        return Consumption(call)

    async def close(self, queue: pb.QueueProfile) -> pb.QueueProfile:
        request = pb.CloseQueueRequest(workflow_id=queue.workflow_id, mqids=[queue.mqid])
        return (await self.mqs.CloseQueue(request, timeout=10)).profiles[0]

    async def stats(self, queue: pb.QueueProfile) -> pb.QueueStats:
        request = pb.GetQueueStatsRequest(workflow_id=queue.workflow_id)
        answer = await self.mqs.GetQueueStats(request, timeout=10)
        return next(stats for stats in answer.queues if stats.mqid == queue.mqid)


class Consumption:
    """A consuming stream, message by message."""

    def __init__(self, call: grpc.aio.StreamStreamCall) -> None:
        self.call = call
        self._deliveries: list[ev.Delivery] = []
        self.settled: list[str] = []
        self.lost: list[str] = []

    async def _read(self) -> bool:
        response = await self.call.read()
        if response is grpc.aio.EOF:
            return False
        self._deliveries += response.deliveries
        self.settled += response.settled
        self.lost += response.lost
        return True

    async def take(self, n: int) -> list[ev.Delivery]:
        while len(self._deliveries) < n:
            assert await self._read(), "the stream ended"
        taken, self._deliveries = self._deliveries[:n], self._deliveries[n:]
        return taken

    async def say(self, **fields: object) -> None:
        await self.call.write(ev.ConsumeRequest(**fields))

    async def ack(self, *deliveries: ev.Delivery) -> None:
        ids = {delivery.delivery_id for delivery in deliveries}
        await self.say(ack=list(ids))
        while not ids <= {*self.settled, *self.lost}:
            assert await self._read(), "the stream ended"

    async def until_settled(self, delivery: ev.Delivery) -> None:
        while delivery.delivery_id not in self.settled:
            assert await self._read(), "the stream ended"

    async def until_end(self) -> list[ev.Delivery]:
        while await self._read():
            pass
        return self._deliveries


def bearer(queue: pb.QueueProfile) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {queue.auth_token}"),)


# Starts a server in this process, on the test's database, with these settings.
Start = Callable[..., Awaitable[Client]]
