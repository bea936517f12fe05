"""Publishing a task's result to RabbitMQ, as `outgoing` does over gRPC. Needs the extra `rabbitmq`.

On a connection of its own, since an alarm of the broker blocks one that publishes. Returns only
when the broker has confirmed the event. RabbitMQ drops no repeats: after a kill between publishing
and acknowledging an output is there twice, and its id, derived from its input's, tells a reader.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from aio_pika.abc import AbstractConnection

from ewms.mqs.v1 import event_service_pb2 as pb
from ewms_amqp.body import Body, encode_body
from ewms_amqp.link import keep_connected
from ewms_amqp.publishing import Outbound, publishing_channel
from ewms_pilot.access import QueueAccess
from ewms_pilot.amqp_recovery import PilotRecovery, link_to
from ewms_pilot.environment import Mqid, QueueAddress
from ewms_pilot.errors import OutputRefused
from ewms_pilot.outgoing import MAX_PAYLOAD, derived_event_id

__all__ = ["AmqpOutgoing"]


@dataclass(frozen=True, eq=False)
class _Waiting:
    event: Outbound
    confirmed: asyncio.Future[None]


class AmqpOutgoing:
    """As `Outgoing`; `ca` is the CA of brokers that speak TLS."""

    def __init__(
        self, access: QueueAccess, address: QueueAddress, name: str, ca: bytes | None
    ) -> None:
        self._access = access
        self._recovery = PilotRecovery(access)
        self._link = link_to(access, address, self._recovery, name, ca)
        self._waiting: list[_Waiting] = []
        self._arrived = asyncio.Event()

    async def run(self) -> None:
        """Publish what is given, until cancelled. Raises QueueRefused."""
        await keep_connected(self._link, self._publish_on)

    async def publish(self, incoming: Mqid, cause: pb.Event, payload: bytes) -> None:
        """Publish what the event `cause` of `incoming` led to, with its headers; confirmed.

        Raises OutputRefused if the queue is closed, as far as is known, or the result too large.
        """
        mqid = self._access.mqid
        if len(payload) > MAX_PAYLOAD:
            raise OutputRefused(f"the out file has {len(payload)} bytes, above {MAX_PAYLOAD}")
        if self._access.is_closed:
            raise OutputRefused(f"the outgoing queue {mqid} is closed")
        event = Outbound(
            encode_body(Body(payload, dict(cause.headers))),
            derived_event_id(incoming, cause.event_id, mqid),
        )
        waiting = _Waiting(event, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._arrived.set()
        await waiting.confirmed

    async def _publish_on(self, connection: AbstractConnection) -> None:
        async with publishing_channel(connection) as channel:
            while True:
                # Who was stopped meanwhile waits no more, and its event is processed again.
                self._waiting = [one for one in self._waiting if not one.confirmed.done()]
                batch = list(self._waiting)
                if not batch:
                    self._arrived.clear()
                    await self._arrived.wait()
                    continue
                count = await channel.publish(self._access.mqid, [one.event for one in batch])
                for one in batch[:count]:
                    if not one.confirmed.done():
                        one.confirmed.set_result(None)
                self._recovery.note_progress()
