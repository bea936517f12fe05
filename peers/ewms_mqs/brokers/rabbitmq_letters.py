"""Dead letters on RabbitMQ: copied into the MQS's tables, and published again from there.

One exchange and one queue gather those of all queues. A copy is committed before RabbitMQ's is
acknowledged, and an event that was put back is forgotten here only when RabbitMQ has confirmed it:
a kill between the two repeats, and loses nothing. Copying and publishing have a connection each,
since an alarm of the broker blocks one that publishes.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage

from ewms.mqs.v1.event_service_pb2 import Event
from ewms_amqp.address import AmqpAddress
from ewms_amqp.body import Body, NotABody, decode_body, encode_body
from ewms_amqp.connection import Secret, open_connection
from ewms_amqp.consuming import PER_CHANNEL, event_id_of
from ewms_amqp.errors import AmqpFailure, amqp_errors
from ewms_amqp.publishing import Outbound, publishing_channel
from ewms_mqs.brokers import rabbitmq_statements as sql
from ewms_postgres.backoff import Backoff
from ewms_postgres.database import Database
from ewms_rpc.metrics import loop_failed

__all__ = ["DeadLetters"]

_log = structlog.get_logger(__name__)

_COPIED_AT_ONCE = PER_CHANNEL
_RETURNED_AT_ONCE = 200
_POLL_SECONDS = 2.0
_REASONS = {
    "rejected": "refused by its consumer",
    "delivery_limit": "delivered too often",
    "expired": "too old",
    "maxlen": "the queue was full",
}


@dataclass(frozen=True, slots=True)
class _Copy:
    """A dead letter as a row; `key` tells a second copy of it, as far as that can be told."""

    mqid: str
    key: bytes | None
    n_deliveries: int
    publish_time: datetime
    reason: str
    body: bytes


class DeadLetters:
    """The two loops.

    Parameters
    ----------
    address, password
        How the MQS itself gets at the broker.
    max_deliveries
        What an event has had that the broker gave up.
    """

    def __init__(
        self,
        database: Database,
        address: AmqpAddress,
        password: str,
        max_deliveries: int,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._database = database
        self._address = address
        self._secret = Secret(password)
        self._max_deliveries = max_deliveries
        self._tls = tls
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Something was put back."""
        self._wake.set()

    async def copy_for_ever(self) -> None:
        """Copy what comes, until cancelled. Raises DatabaseError."""
        backoff = Backoff()
        while True:
            try:
                row = await self._database.fetchrow(sql.BROKER)
                assert row is not None
                await self._copy_on_one_connection(row["dead_queue"], backoff)
            except AmqpFailure as error:
                loop_failed("rabbitmq dead letters")
                _log.warning("dead letters wait for RabbitMQ", reason=str(error))
            await backoff.wait()

    async def _copy_on_one_connection(self, dead_queue: str, backoff: Backoff) -> None:
        arrived: asyncio.Queue[AbstractIncomingMessage | BaseException] = asyncio.Queue()
        async with self._connection("dead letters") as connection:
            with amqp_errors():
                channel = await connection.channel(publisher_confirms=False)
                channel.close_callbacks.add(
                    lambda _, error: arrived.put_nowait(error or ConnectionError("closed"))
                )
                await channel.set_qos(prefetch_count=_COPIED_AT_ONCE)
                queue = await channel.get_queue(dead_queue, ensure=False)
                await queue.consume(arrived.put)
            while True:
                batch = [await arrived.get()]
                while len(batch) < _COPIED_AT_ONCE and not arrived.empty():
                    batch.append(arrived.get_nowait())
                messages = []
                for item in batch:
                    if isinstance(item, BaseException):
                        with amqp_errors():
                            raise item
                    messages.append(item)
                await self._copy(messages)
                with amqp_errors():
                    # As one: many by themselves the broker may forget when the connection ends.
                    await messages[-1].ack(multiple=True)
                backoff.reset()

    async def _copy(self, messages: Sequence[AbstractIncomingMessage]) -> None:
        copies = [self._copy_of(message) for message in messages]
        n_kept = await self._database.fetchval(
            sql.COPY_DEAD_LETTERS,
            mqids=[copy.mqid for copy in copies],
            keys=[copy.key for copy in copies],
            n_deliveries=[copy.n_deliveries for copy in copies],
            publish_times=[copy.publish_time for copy in copies],
            reasons=[copy.reason for copy in copies],
            bodies=[copy.body for copy in copies],
        )
        _log.info("dead letters copied", n_dead_letters=n_kept)

    def _copy_of(self, message: AbstractIncomingMessage) -> _Copy:
        death = _last_death(message)
        reason = str(death.get("reason", ""))
        n_deliveries = self._max_deliveries if reason == "delivery_limit" else 1
        returns = message.headers.get("x-delivery-count")
        if reason != "delivery_limit" and isinstance(returns, int):
            n_deliveries = returns + 1
        event = Event(event_id=event_id_of(message))
        try:
            body = decode_body(message.body)
            event.payload = body.payload
            event.headers.update(body.headers)
        except NotABody:
            # Nobody could read it; that it is kept as it is may help to find who wrote it.
            reason = "not readable"
            event.payload = message.body
        return _Copy(
            str(death.get("queue", "")),
            _key_of(message, death),
            n_deliveries,
            message.timestamp or datetime.now(UTC),
            _REASONS.get(reason, reason),
            event.SerializeToString(),
        )

    async def return_for_ever(self) -> None:
        """Publish again what was put back; for one process at a time. Raises DatabaseError."""
        backoff = Backoff()
        while True:
            try:
                if rows := await self._database.fetch(sql.TAKE_RETURNS, limit=1):
                    await self._return_on_one_connection()
                backoff.reset()
            except AmqpFailure as error:
                loop_failed("rabbitmq returns")
                _log.warning("what was put back waits for RabbitMQ", reason=str(error))
                await backoff.wait()
                continue
            if not rows:
                await self._wait()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(_POLL_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            return
        finally:
            self._wake.clear()

    async def _return_on_one_connection(self) -> None:
        async with (
            self._connection("returns") as connection,
            publishing_channel(connection) as channel,
        ):
            while rows := await self._database.fetch(sql.TAKE_RETURNS, limit=_RETURNED_AT_ONCE):
                # What stands first decides the queue; the others come in another round.
                queue_no, mqid = rows[0]["queue_no"], rows[0]["mqid"]
                some = [row for row in rows if row["queue_no"] == queue_no]
                n_there = await channel.publish(mqid, [_outbound(row) for row in some])
                await self._database.execute(
                    sql.RETURNED,
                    queue=queue_no,
                    event_nos=[row["event_no"] for row in some[:n_there]],
                )

    def _connection(self, purpose: str) -> AbstractAsyncContextManager[AbstractConnection]:
        return open_connection(self._address, self._fetch_secret, f"ewms-mqs {purpose}", self._tls)

    async def _fetch_secret(self) -> Secret:
        return self._secret


def _last_death(message: AbstractIncomingMessage) -> dict[str, Any]:
    """What the broker itself wrote last; what a publisher may have forged stands behind it."""
    deaths = message.headers.get("x-death")
    first = deaths[0] if isinstance(deaths, list) and deaths else None
    return first if isinstance(first, dict) else {}


def _key_of(message: AbstractIncomingMessage, death: dict[str, Any]) -> bytes | None:
    # Without an id two events cannot be told from one: rather one twice than one lost.
    if not message.message_id:
        return None
    parts = (message.message_id, death.get("count"), death.get("time"))
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).digest()


def _outbound(row: Any) -> Outbound:
    event = Event.FromString(row["body"])
    return Outbound(encode_body(Body(event.payload, dict(event.headers))), event.event_id)
