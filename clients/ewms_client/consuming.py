"""Consumes a queue over gRPC: an iterator of deliveries that goes on over broken streams and ends
when the queue is drained. While a delivery is held, its lease is extended in the background; when
the consumer is left, what was not settled goes back to the queue. At-least-once: an event may come
again after a broken stream, and its `event_id` tells.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Sequence
from types import TracebackType
from typing import Self

import grpc
from grpc import aio

from ewms.mqs.v1 import event_service_pb2
from ewms_client.channel import answer, received
from ewms_client.delivery import Delivery, LeaseBook, Statement, Verb
from ewms_client.errors import NotFound, RpcError, Unauthenticated
from ewms_client.queue_access import QueueAccess
from ewms_client.reconnection import Reconnection, ask_patiently

__all__ = ["StreamConsumer"]

_SETTLE_TIMEOUT = 30.0
_CLOSE_TIMEOUT = 10.0
_EXTENSIONS_A_LEASE = 3
_STATEMENTS_A_MESSAGE = 10_000

_Stream = aio.StreamStreamCall[event_service_pb2.ConsumeRequest, event_service_pb2.ConsumeResponse]
_Said = Sequence[tuple[str, Statement]]


class StreamConsumer:
    """An async context manager and, inside it, an async iterator of deliveries.

    At most `credit` deliveries are held at a time. It ends after `count` of them, or when the queue
    is drained. Left with an error or without, it waits for the settlements that are on their way.
    """

    def __init__(
        self,
        queue: QueueAccess,
        *,
        count: int | None,
        credit: int,
        name: str,
        patience: float,
    ) -> None:
        self._queue, self._name = queue, name
        self._count, self._credit, self._patience = count, credit, patience
        self._leases = LeaseBook()
        self._buffer: deque[Delivery] = deque()
        self._n_given = 0
        self._open_credit = 0
        self._stream_number = 0
        self._lease_seconds = 0.0
        self._lease_known = asyncio.Event()
        self._has_fresh_token = False
        self._is_closing = False
        self._is_drained = False
        self._failure: Exception | None = None
        self._arrived = asyncio.Event()
        self._to_say = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._reconnection = Reconnection(f"consuming {self._queue.alias}", self._patience)
        self._running = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        running = self._running
        if running is None:
            return
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_TIMEOUT):
                    self._is_closing = True
                    self._to_say.set()
                    await asyncio.wait([running])
        finally:
            running.cancel()
            await asyncio.wait([running])

    @property
    def is_drained(self) -> bool:
        """Whether the queue is drained: nothing comes any more."""
        return self._is_drained

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delivery:
        if self._running is None:
            raise RuntimeError("a consumer is used with `async with`")
        while self._n_given != self._count:
            while self._buffer:
                delivery = self._buffer.popleft()
                if not delivery.is_lost:
                    self._n_given += 1
                    return delivery
            if self._running.done():
                break
            self._arrived.clear()
            await self._arrived.wait()
        if self._failure is not None and self._n_given != self._count:
            raise self._failure
        raise StopAsyncIteration

    async def _run(self) -> None:
        try:
            while not await self._has_ended():
                pass
        except Exception as error:
            self._failure = error
        finally:
            self._leases.fail_all(self._failure)
            self._arrived.set()

    async def _has_ended(self) -> bool:
        """Consume on one stream. False: it broke, and another is to be opened."""
        try:
            await self._consume_on_one_stream()
            self._is_drained = not self._has_said_all()
            self._leases.note_stream_broke()
            await self._say_beside(
                [(delivery_id, said) for delivery_id, _, said in self._leases.unsaid()]
            )
            return True
        except Unauthenticated:
            if self._has_fresh_token:
                raise
            self._queue.reject_token()
            self._has_fresh_token = True
        except RpcError as error:
            if self._is_closing and not self._leases.n_settling:
                return True
            if isinstance(error, NotFound):
                # A token holds for longer than its queue may be there.
                what = f"looking for {self._queue.alias}"
                await ask_patiently(self._queue.require_there, what, self._patience)
            await self._reconnection.wait_after(error)
        return False

    async def _consume_on_one_stream(self) -> None:
        metadata = await self._queue.metadata()
        self._leases.note_stream_broke()
        self._stream_number += 1
        self._open_credit = 0
        stream: _Stream = self._queue.stub.Consume(
            timeout=self._queue.stream_lifetime, metadata=metadata
        )
        self._to_say.set()
        talking = [
            asyncio.create_task(self._talk(stream)),
            asyncio.create_task(self._extend_leases()),
        ]
        try:
            async for response in received(stream):
                self._hear(response)
        finally:
            for task in talking:
                task.cancel()
            await asyncio.gather(*talking, return_exceptions=True)

    def _hear(self, response: event_service_pb2.ConsumeResponse) -> None:
        self._reconnection.note_progress()
        self._has_fresh_token = False
        if response.HasField("lease"):
            self._lease_seconds = response.lease.ToTimedelta().total_seconds()
            self._lease_known.set()
        for message in response.deliveries:
            delivery = Delivery(message, self._settle)
            self._leases.hold(delivery, self._stream_number)
            self._buffer.append(delivery)
            self._open_credit -= 1
        self._note_answers(response.settled, response.lost)
        self._arrived.set()

    def _note_answers(self, settled: Sequence[str], lost: Sequence[str]) -> None:
        self._leases.note_settled(settled)
        self._leases.note_lost(lost)
        if settled or lost:
            self._to_say.set()

    def _settle(self, delivery_id: str, statement: Statement) -> Awaitable[None]:
        self._to_say.set()
        return self._leases.settle(delivery_id, statement)

    async def _extend_leases(self) -> None:
        await self._lease_known.wait()
        while True:
            await asyncio.sleep(self._lease_seconds / _EXTENSIONS_A_LEASE)
            self._leases.extend_all()
            self._to_say.set()

    async def _talk(self, stream: _Stream) -> None:
        """Say what there is to say, until the stream is over or is to be ended."""
        try:
            await stream.write(
                event_service_pb2.ConsumeRequest(
                    mqid=self._queue.mqid, credit=self._new_credit(), consumer=self._name
                )
            )
            while not self._has_said_all():
                await self._to_say.wait()
                self._to_say.clear()
                await self._say(stream)
            await stream.done_writing()
        except (grpc.RpcError, asyncio.InvalidStateError):
            # The stream is over; its reader learns why.
            return
        except RpcError:
            # Settling failed beside the stream. A new one begins with saying it again.
            stream.cancel()

    def _has_said_all(self) -> bool:
        """Whether nothing more is wanted of the stream; what it has delivered beyond goes back."""
        if self._leases.n_settling:
            return False
        n_waiting = sum(not delivery.is_lost for delivery in self._buffer)
        has_enough = self._n_given == self._count and len(self._leases) == n_waiting
        return self._is_closing or has_enough

    async def _say(self, stream: _Stream) -> None:
        here: list[tuple[str, Statement]] = []
        beside: list[tuple[str, Statement]] = []
        for delivery_id, number, statement in self._leases.unsaid()[:_STATEMENTS_A_MESSAGE]:
            if number != self._stream_number:
                beside.append((delivery_id, statement))
                continue
            here.append((delivery_id, statement))
            # What is settled on its own stream gives its credit back.
            self._open_credit += statement.verb is not Verb.EXTEND
        self._leases.note_said(delivery_id for delivery_id, _ in here)
        credit = self._new_credit()
        if here or credit:
            request = event_service_pb2.ConsumeRequest(credit=credit)
            _state(request, here)
            await stream.write(request)
        await self._say_beside(beside)

    async def _say_beside(self, said: _Said) -> None:
        if not said:
            return
        self._leases.note_said(delivery_id for delivery_id, _ in said)
        request = event_service_pb2.SettleDeliveriesRequest(mqid=self._queue.mqid)
        _state(request, said)
        response = await answer(
            self._queue.stub.SettleDeliveries(
                request, timeout=_SETTLE_TIMEOUT, metadata=await self._queue.metadata()
            )
        )
        self._note_answers(response.settled, response.lost)

    def _remaining(self) -> int:
        """How many deliveries may still come, beyond those that are here."""
        if self._count is None:
            return _STATEMENTS_A_MESSAGE
        held = sum(not delivery.is_lost for delivery in self._buffer)
        return self._count - self._n_given - held

    def _new_credit(self) -> int:
        """Credit to give now; counts it as given."""
        if self._is_closing:
            return 0
        room = min(self._credit - len(self._leases), self._remaining())
        credit = max(room - self._open_credit, 0)
        self._open_credit += credit
        return credit


def _state(
    request: event_service_pb2.ConsumeRequest | event_service_pb2.SettleDeliveriesRequest,
    said: _Said,
) -> None:
    for delivery_id, statement in said:
        match statement.verb:
            case Verb.ACK:
                request.ack.append(delivery_id)
            case Verb.EXTEND:
                request.extend.append(delivery_id)
            case Verb.NACK:
                request.nack.add(
                    delivery_id=delivery_id, requeue=statement.requeue, reason=statement.reason
                )
