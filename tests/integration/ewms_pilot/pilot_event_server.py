"""An EventService in memory on a real socket, for the pilot's tests.

It keeps the contract (credit, leases, settlement by id, dropped repeats, draining, tokens that
expire) in the simplest way, records what happened, and can be cut off and started again on the
same port with its queues as they were. Tests wait on `until`, never on the clock.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from google.protobuf.duration_pb2 import Duration

from ewms.mqs.v1 import event_service_pb2 as pb
from ewms.mqs.v1 import event_service_pb2_grpc as services
from ewms.mqs.v1 import mqs_service_pb2 as mqs

CREDENTIAL = "the-credential"


@dataclass(eq=False)
class Flight:
    """An event that is delivered and not settled."""

    event: pb.Event
    stream: object
    lease_end: float
    n_extended: int = 0


@dataclass
class Queue:
    """A queue and its history."""

    ready: deque[pb.Event] = field(default_factory=deque)
    flights: dict[str, Flight] = field(default_factory=dict)
    n_deliveries: dict[str, int] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    published: list[pb.Event] = field(default_factory=list)
    acked: list[str] = field(default_factory=list)
    nacked: list[tuple[str, bool, str]] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)
    given_back: list[str] = field(default_factory=list)
    n_repeats: int = 0
    n_extensions: int = 0
    n_streams: int = 0
    is_closed: bool = False
    refuses_with: grpc.StatusCode | None = None

    @property
    def is_drained(self) -> bool:
        return self.is_closed and not self.ready and not self.flights


class EventServer(services.EventServiceServicer):
    """The server. `lease` and `token_life` are in seconds."""

    def __init__(self, lease: float = 60.0, token_life: float = 3600.0) -> None:
        self.lease = lease
        self.token_life = token_life
        self.queues: dict[str, Queue] = {}
        self.changed = asyncio.Condition()
        self.holds_confirmations = False
        self.n_renewed = 0
        self.renewals_with: list[str] = []
        self.port = 0
        self._server: grpc.aio.Server | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = grpc.aio.server(
            options=[("grpc.max_receive_message_length", 17 << 20), ("grpc.so_reuseport", 0)]
        )
        services.add_EventServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()
        self._expiring = asyncio.create_task(self._expire_leases())

    async def cut_off(self) -> None:
        """As a kill: streams break, queues and leases stay."""
        assert self._server is not None
        await self._server.stop(None)
        self._expiring.cancel()

    def queue(self, mqid: str) -> Queue:
        return self.queues.setdefault(mqid, Queue())

    async def put(self, mqid: str, *payloads: bytes, **headers: str) -> list[str]:
        events = [
            pb.Event(event_id=uuid.uuid4().hex, payload=payload, headers=headers)
            for payload in payloads
        ]
        self.queue(mqid).ready.extend(events)
        await self._wake()
        return [event.event_id for event in events]

    async def close_queue(self, mqid: str) -> None:
        self.queue(mqid).is_closed = True
        await self._wake()

    async def until(self, condition: Callable[[], bool], timeout: float = 15.0) -> None:
        async with asyncio.timeout(timeout), self.changed:
            await self.changed.wait_for(condition)

    def token(self, mqid: str, life: float | None = None) -> str:
        now = time.time()
        claims = {"mqid": mqid, "iat": now, "exp": now + (life or self.token_life)}
        body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
        return f"head.{body}.signature"

    async def _wake(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def _authorize(self, mqid: str, context: Any) -> Queue:
        token = _secret(context)
        try:
            body = token.split(".")[1]
            claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
            is_good = claims["exp"] > time.time() and claims["mqid"] == mqid
        except (IndexError, ValueError, KeyError):
            is_good = False
        if not is_good:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "bad token")
        queue = self.queue(mqid)
        if queue.refuses_with is not None:
            await context.abort(queue.refuses_with, "refused by the test")
        return queue

    async def RenewToken(self, request: Any, context: Any) -> Any:
        secret = _secret(context)
        if secret != CREDENTIAL:
            await self._authorize(request.mqid, context)
        self.renewals_with.append("credential" if secret == CREDENTIAL else "token")
        await self._wake()
        return pb.RenewTokenResponse(
            profile=mqs.QueueProfile(mqid=request.mqid, auth_token=self.token(request.mqid))
        )

    async def PublishBatch(self, request: Any, context: Any) -> Any:
        queue = await self._authorize(request.mqid, context)
        if queue.is_closed:
            details = (("grpc-status-details-bin", b"\x0a\x0cQUEUE_CLOSED"),)
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the queue is closed", details)
        new = [event for event in request.events if event.event_id not in queue.seen]
        queue.n_repeats += len(request.events) - len(new)
        queue.seen.update(event.event_id for event in new)
        queue.published.extend(new)
        queue.ready.extend(new)
        await self._wake()
        if self.holds_confirmations:
            await asyncio.Event().wait()
        return pb.PublishBatchResponse(n_published=len(new))

    async def SettleDeliveries(self, request: Any, context: Any) -> Any:
        queue = await self._authorize(request.mqid, context)
        settled, lost, _ = self._settle(queue, request)
        await self._wake()
        return pb.SettleDeliveriesResponse(settled=settled, lost=lost)

    async def Consume(self, requests: Any, context: Any) -> AsyncIterator[Any]:
        first = await anext(aiter(requests))
        queue = await self._authorize(first.mqid, context)
        queue.n_streams += 1
        stream = _Stream(self, queue, first.credit)
        yield pb.ConsumeResponse(
            lease=Duration(nanos=int(self.lease * 1e9) % 10**9, seconds=int(self.lease))
        )
        hearing = asyncio.create_task(stream.hear(requests))
        try:
            async for response in stream.talk():
                yield response
        finally:
            hearing.cancel()

    async def _expire_leases(self) -> None:
        while True:
            await asyncio.sleep(0.05)
            for queue in self.queues.values():
                for delivery_id, flight in list(queue.flights.items()):
                    if flight.lease_end < time.monotonic():
                        self.lose(queue, delivery_id)
            await self._wake()

    @staticmethod
    def lose(queue: Queue, delivery_id: str) -> None:
        """As if the lease had run out."""
        queue.ready.append(queue.flights.pop(delivery_id).event)

    def _settle(self, queue: Queue, request: Any) -> tuple[list[str], list[str], int]:
        settled, lost, n_freed = [], [], 0
        for delivery_id in request.extend:
            flight = queue.flights.get(delivery_id)
            if flight is None:
                lost.append(delivery_id)
                continue
            flight.lease_end = time.monotonic() + self.lease
            flight.n_extended += 1
            queue.n_extensions += 1
            settled.append(delivery_id)
        verdicts = [(name, None) for name in request.ack]
        verdicts += [(nack.delivery_id, nack) for nack in request.nack]
        for delivery_id, nack in verdicts:
            flight = queue.flights.pop(delivery_id, None)
            n_freed += 1
            if flight is None:
                lost.append(delivery_id)
                continue
            settled.append(delivery_id)
            if nack is None:
                queue.acked.append(flight.event.event_id)
                continue
            queue.nacked.append((flight.event.event_id, nack.requeue, nack.reason))
            if nack.requeue and queue.n_deliveries[flight.event.event_id] < 5:
                queue.ready.append(flight.event)
            else:
                queue.dead.append(flight.event.event_id)
        return settled, lost, n_freed


class _Stream:
    def __init__(self, server: EventServer, queue: Queue, credit: int) -> None:
        self._server, self._queue, self._credit = server, queue, credit
        self._answers: deque[pb.ConsumeResponse] = deque()
        self._is_half_closed = False

    async def hear(self, requests: Any) -> None:
        async for request in requests:
            settled, lost, n_freed = self._server._settle(self._queue, request)
            self._credit += request.credit + n_freed
            if settled or lost:
                self._answers.append(pb.ConsumeResponse(settled=settled, lost=lost))
            await self._server._wake()
        # gRPC ends the requests of a broken stream like those of a half-closed one, and only then
        # cancels its handler, and so this task.
        await asyncio.sleep(0.05)
        self._is_half_closed = True
        for delivery_id, flight in list(self._queue.flights.items()):
            if flight.stream is self and not flight.n_extended:
                del self._queue.flights[delivery_id]
                self._queue.ready.append(flight.event)
                self._queue.given_back.append(flight.event.event_id)
        await self._server._wake()

    async def talk(self) -> AsyncIterator[pb.ConsumeResponse]:
        while True:
            await self._server.until(self._has_something, timeout=600)
            while self._answers:
                yield self._answers.popleft()
            if self._is_half_closed or self._queue.is_drained:
                return
            if deliveries := self._deliver():
                yield pb.ConsumeResponse(deliveries=deliveries)

    def _has_something(self) -> bool:
        can_deliver = bool(self._credit > 0 and self._queue.ready)
        return bool(self._answers or self._is_half_closed or self._queue.is_drained or can_deliver)

    def _deliver(self) -> list[pb.Delivery]:
        deliveries = []
        while self._credit > 0 and self._queue.ready:
            event = self._queue.ready.popleft()
            delivery_id = uuid.uuid4().hex
            count = self._queue.n_deliveries.get(event.event_id, 0) + 1
            self._queue.n_deliveries[event.event_id] = count
            self._queue.flights[delivery_id] = Flight(
                event, self, time.monotonic() + self._server.lease
            )
            self._credit -= 1
            deliveries.append(pb.Delivery(delivery_id=delivery_id, event=event, n_deliveries=count))
        return deliveries


def _secret(context: Any) -> str:
    metadata = dict(context.invocation_metadata())
    return str(metadata.get("authorization", "")).removeprefix("Bearer ")
