"""What an incoming queue keeps in memory: deliveries that are held, and what waits to be said.

Plain state; the rules are in `incoming`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Protocol

from ewms.mqs.v1 import event_service_pb2 as pb
from ewms_pilot.environment import Mqid

__all__ = ["Feed", "Held", "Sink", "Stream"]


@dataclass(eq=False)
class Stream:
    """What waits to be said on one Consume stream. `is_closing`: half-close after that."""

    says: pb.ConsumeRequest = field(default_factory=pb.ConsumeRequest)
    is_closing: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def grant(self, credit: int) -> None:
        """Let the broker deliver so many more."""
        self.says.credit += credit
        self.changed.set()

    def close(self) -> None:
        """Half-close, once everything is said."""
        self.is_closing = True
        self.changed.set()

    async def requests(self, first: pb.ConsumeRequest) -> AsyncIterator[pb.ConsumeRequest]:
        """What the stream sends, in as few messages as the reader lets through."""
        yield first
        while True:
            if self.says.ByteSize():
                says, self.says = self.says, pb.ConsumeRequest()
                yield says
            elif self.is_closing:
                return
            else:
                self.changed.clear()
                await self.changed.wait()


@dataclass(eq=False)
class Held:
    """A delivery that is not settled yet.

    `work` is the task that works on it, cancelled if the delivery is lost. Once `is_decided`,
    `nack` says how it is refused; None acknowledges it. `n_extending` extensions are unanswered
    on the stream: answers name the delivery only, and come in order. Over AMQP
    nobody reads `stream`.
    """

    message: pb.Delivery
    stream: Stream = field(default_factory=Stream)
    work: asyncio.Task[None] | None = None
    is_decided: bool = False
    nack: pb.Nack | None = None
    n_extending: int = 0
    is_lost: bool = False

    @property
    def id(self) -> str:
        """The delivery's id."""
        return self.message.delivery_id


class Feed(Protocol):
    """An incoming queue, over gRPC or AMQP: see `Incoming`."""

    @property
    def mqid(self) -> Mqid: ...

    @property
    def is_idle(self) -> bool: ...

    def grant(self, credit: int) -> None: ...

    def acknowledge(self, held: Held) -> None: ...

    def refuse(self, held: Held, reason: str, *, requeue: bool) -> None: ...

    async def run(self) -> None: ...

    async def stop(self) -> None: ...


class Sink(Protocol):
    """An outgoing queue, over gRPC or AMQP: see `Outgoing`."""

    async def run(self) -> None: ...

    async def publish(self, incoming: Mqid, cause: pb.Event, payload: bytes) -> None: ...
