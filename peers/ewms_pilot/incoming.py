"""Consuming one queue: deliveries in, acknowledgements and refusals out, leases kept alive.

Guarantees that a delivery which is held stays leased for as long as it is worked on, and that a
settlement is repeated until the broker has it, over as many streams as that takes. A delivery
belongs to the stream that brought it: there it is settled and gives its credit back. Once that
stream is gone it is settled by id, and its credit is granted anew on the current stream. A
delivery that the broker has given to somebody else (`lost`) is dropped, and its task stopped. It
must never acknowledge anything by itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator

import grpc.aio

from ewms.mqs.v1 import event_service_pb2 as pb
from ewms_pilot.access import QueueAccess
from ewms_pilot.backoff import Backoff
from ewms_pilot.deliveries import Feed, Held, Stream
from ewms_pilot.environment import Mqid

__all__ = ["Incoming"]

_LOG = logging.getLogger(__name__)
_GOODBYE = 1.0
_MAX_REASON = 4096


class Incoming:
    """One incoming queue.

    Parameters
    ----------
    access
        Its stub and token.
    credit
        How many deliveries may be held at once.
    consumer
        Who consumes, for the broker's statistics.
    ready
        Where new deliveries are put, with this queue.
    on_change
        Called when something was delivered, settled, connected or lost.
    """

    def __init__(
        self,
        access: QueueAccess,
        credit: int,
        consumer: str,
        ready: asyncio.Queue[tuple[Feed, Held]],
        on_change: Callable[[], None],
    ) -> None:
        self._access = access
        self._credit = credit
        self._consumer = consumer
        self._ready = ready
        self._on_change = on_change
        self._held: dict[str, Held] = {}
        self._stream: Stream | None = None
        self._lease = 0.0
        self._lease_known = asyncio.Event()
        self._elsewhere = asyncio.Event()
        self._changed = asyncio.Event()
        self._is_connected = False
        self.is_drained = False
        self.is_stopped = False

    @property
    def mqid(self) -> Mqid:
        """The queue's id."""
        return self._access.mqid

    @property
    def is_idle(self) -> bool:
        """Connected, with nothing held; or drained."""
        return not self._held and (self._is_connected or self.is_drained)

    def grant(self, credit: int) -> None:
        """Let so many deliveries more be held, from now on."""
        self._credit += credit
        if self._stream is not None:
            self._stream.grant(credit)

    def acknowledge(self, held: Held) -> None:
        """The event is done. Repeated until the broker knows it."""
        self._decide(held, None)

    def refuse(self, held: Held, reason: str, *, requeue: bool) -> None:
        """The event could not be processed. Repeated until the broker knows it."""
        self._decide(held, _refusal(held, reason, requeue=requeue))

    async def run(self) -> None:
        """Consume until the queue is drained or `stop` was called, and all is settled.

        Raises QueueRefused. Cancelled, it gives back what is held, as far as that takes no time.
        """
        async with asyncio.TaskGroup() as group:
            chores = [
                group.create_task(chore())
                for chore in (self._access.keep_fresh, self._extend_leases, self._settle_elsewhere)
            ]
            await self._consume()
            self._is_connected = False
            self._on_change()
            while self._held:
                self._changed.clear()
                await self._changed.wait()
            for chore in chores:
                chore.cancel()

    async def stop(self) -> None:
        """Take nothing more; what is not being worked on goes back to the queue."""
        if self.is_stopped:
            return
        self.is_stopped = True
        for held in list(self._held.values()):
            if held.work is None and not held.is_decided:
                self._drop(held)
        stream = self._stream
        working = [held.id for held in self._held.values() if not held.is_decided]
        if working:
            # A half-closed stream gives back what was not extended elsewhere.
            await self._settle_by_id(pb.SettleDeliveriesRequest(mqid=self.mqid, extend=working))
        if stream is not None:
            stream.close()

    async def _consume(self) -> None:
        backoff = Backoff()
        while not self.is_stopped:
            try:
                await self._follow_one_stream(backoff)
            except grpc.aio.AioRpcError as error:
                await self._access.recover(error, backoff)
            else:
                self.is_drained = not self.is_stopped
                return

    async def _follow_one_stream(self, backoff: Backoff) -> None:
        metadata = await self._access.metadata()
        if self.is_stopped:
            return
        stream = self._stream = Stream()
        first = pb.ConsumeRequest(
            mqid=self.mqid,
            credit=max(self._credit - len(self._held), 0),
            consumer=self._consumer,
        )
        call = self._access.stub.Consume(stream.requests(first), metadata=metadata)
        # A reader of its own: cancelling a read would cancel the call, and not give back anything.
        reading = asyncio.create_task(self._read(call, stream, backoff))
        try:
            await asyncio.shield(reading)
        except asyncio.CancelledError:
            self.is_stopped = True
            stream.close()
            await asyncio.wait([reading], timeout=_GOODBYE)
            if reading.done() and not reading.cancelled():
                reading.exception()
            raise
        finally:
            reading.cancel()
            call.cancel()
            self._stream = None
            self._is_connected = False
            self._elsewhere.set()
            self._on_change()

    async def _read(
        self,
        call: grpc.aio.StreamStreamCall[pb.ConsumeRequest, pb.ConsumeResponse],
        stream: Stream,
        backoff: Backoff,
    ) -> None:
        async for response in call:
            if response.HasField("lease"):
                self._lease = response.lease.ToTimedelta().total_seconds()
                self._lease_known.set()
                self._is_connected = True
                self._access.answered()
                backoff.reset()
            for message in response.deliveries:
                self._take(Held(message, stream))
            self._conclude(self._answered(response.settled), response.lost)
            self._on_change()

    def _take(self, held: Held) -> None:
        if self.is_stopped:
            return
        self._held[held.id] = held
        self._ready.put_nowait((self, held))

    def _decide(self, held: Held, nack: pb.Nack | None) -> None:
        if held.is_lost:
            return
        held.is_decided, held.nack = True, nack
        if held.stream is not self._stream or held.stream.is_closing:
            self._elsewhere.set()
            return
        if nack is None:
            held.stream.says.ack.append(held.id)
        else:
            held.stream.says.nack.append(nack)
        held.stream.changed.set()

    def _answered(self, settled: Iterable[str]) -> Iterator[str]:
        """Of what the stream reports, the acknowledgements and refusals."""
        for delivery_id in settled:
            held = self._held.get(delivery_id)
            if held is None:
                continue
            if held.n_extending:
                held.n_extending -= 1
            elif held.is_decided:
                yield delivery_id

    def _conclude(self, settled: Iterable[str], lost: Iterable[str]) -> None:
        for delivery_id in settled:
            held = self._held.get(delivery_id)
            if held is not None:
                self._drop(held)
        for delivery_id in lost:
            held = self._held.get(delivery_id)
            if held is None:
                continue
            if not held.is_decided:
                _LOG.warning("delivery %s is lost: the event is processed again", delivery_id)
                if held.stream is self._stream:
                    # Without any effect on the event, but it gives the credit back.
                    held.stream.says.nack.append(_refusal(held, "lost", requeue=True))
                    held.stream.changed.set()
            held.is_lost = True
            self._drop(held)
            if held.work is not None:
                held.work.cancel()

    def _drop(self, held: Held) -> None:
        self._held.pop(held.id, None)
        held.is_lost = held.is_lost or not held.is_decided
        if self._stream is not None and held.stream is not self._stream:
            self._stream.grant(1)
        self._changed.set()

    async def _extend_leases(self) -> None:
        await self._lease_known.wait()
        while True:
            await asyncio.sleep(self._lease / 3)
            stream = self._stream
            for held in self._held.values():
                if stream is not None and held.stream is stream and not held.is_decided:
                    stream.says.extend.append(held.id)
                    stream.changed.set()
                    held.n_extending += 1
            self._elsewhere.set()

    async def _settle_elsewhere(self) -> None:
        """Settle and extend what came on streams that are gone."""
        while True:
            await self._elsewhere.wait()
            self._elsewhere.clear()
            request = pb.SettleDeliveriesRequest(mqid=self.mqid)
            for held in self._held.values():
                if held.stream is self._stream and not held.stream.is_closing:
                    continue
                if not held.is_decided:
                    request.extend.append(held.id)
                elif held.nack is None:
                    request.ack.append(held.id)
                else:
                    request.nack.append(held.nack)
            if request.ack or request.nack or request.extend:
                await self._settle_by_id(request)

    async def _settle_by_id(self, request: pb.SettleDeliveriesRequest) -> None:
        answer = await self._access.call(self._access.stub.SettleDeliveries, request)
        # One that was only extended may have been decided meanwhile: that is still to be told.
        told = {*request.ack, *(nack.delivery_id for nack in request.nack)}
        self._conclude([name for name in answer.settled if name in told], answer.lost)
        self._on_change()


def _refusal(held: Held, reason: str, *, requeue: bool) -> pb.Nack:
    return pb.Nack(delivery_id=held.id, requeue=requeue, reason=reason[:_MAX_REASON])
