"""The way into a public queue: its id, its broker, and a token that is renewed at half its life, so
that work on a queue may last longer than any token. A token is never logged nor put into an error.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ewms.wms.v1 import workflow_service_pb2
from ewms_client.channel import Metadata
from ewms_client.errors import DeadlineExceeded, Unavailable, UnsupportedBroker

if TYPE_CHECKING:
    from ewms.mqs.v1.event_service_pb2_grpc import EventServiceAsyncStub

__all__ = ["QueueAccess", "amqp_installed"]

_LONGEST_STREAM = 3600.0
_SHORTEST_STREAM = 1.0


class QueueAccess:
    """A public queue that is activated. `look_up` fetches it with a fresh token, or says that it
    is gone."""

    def __init__(
        self,
        queue: workflow_service_pb2.PublicQueue,
        look_up: Callable[[], Awaitable[workflow_service_pb2.PublicQueue]],
        stub_at: Callable[[str, bool], EventServiceAsyncStub],
        trusted_ca: bytes | None = None,
    ) -> None:
        if queue.broker_type not in ("postgres", "rabbitmq"):
            raise UnsupportedBroker(queue.broker_type, queue.broker_address)
        self._look_up, self._stub_at = look_up, stub_at
        self.trusted_ca = trusted_ca
        self._take(queue)

    @property
    def mqid(self) -> str:
        """The queue's id at the broker."""
        return self._queue.mqid

    @property
    def alias(self) -> str:
        """The queue's alias in its workflow."""
        return self._queue.alias

    @property
    def broker_address(self) -> str:
        """Where its broker is."""
        return self._queue.broker_address

    @property
    def broker_tls(self) -> bool:
        """Whether its broker speaks TLS."""
        return self._queue.broker_tls

    @property
    def is_on_rabbitmq(self) -> bool:
        """Whether its events are exchanged with RabbitMQ itself, over AMQP."""
        return self._queue.broker_type == "rabbitmq"

    @property
    def is_closed(self) -> bool:
        """Whether it was closed when it was last looked up."""
        return self._queue.is_closed

    @property
    def is_drained(self) -> bool:
        """Whether it was drained when it was last looked up."""
        return self._queue.is_drained

    @property
    def stub(self) -> EventServiceAsyncStub:
        """The broker's EventService."""
        return self._stub_at(self._queue.broker_address, self._queue.broker_tls)

    @property
    def stream_lifetime(self) -> float:
        """Seconds after which a stream is to be opened anew, with the next token."""
        left = self._renew_at - time.monotonic()
        return min(max(left, _SHORTEST_STREAM), _LONGEST_STREAM)

    async def metadata(self) -> Metadata:
        """What authorises a call now. UNAVAILABLE only if the token has expired for good."""
        if time.monotonic() >= self._renew_at:
            await self._renew()
        return (("authorization", f"Bearer {self._queue.auth_token}"),)

    async def token(self) -> tuple[str, float | None]:
        """A token that is good now, and in how many seconds it is half spent (None: never).

        UNAVAILABLE only if the token has expired for good.
        """
        if time.monotonic() >= self._renew_at:
            await self._renew()
        left = self._renew_at - time.monotonic()
        return self._queue.auth_token, None if left == float("inf") else max(left, 0.0)

    def reject_token(self) -> None:
        """The broker refused the token: fetch another for the next call."""
        self._renew_at = self._expire_at = 0.0

    async def require_there(self) -> None:
        """Return if there is still such a queue. QueueGone."""
        self._take(await self._look_up())

    async def _renew(self) -> None:
        try:
            self._take(await self._look_up())
        except (Unavailable, DeadlineExceeded):
            if time.monotonic() >= self._expire_at:
                raise

    def _take(self, queue: workflow_service_pb2.PublicQueue) -> None:
        self._queue = queue
        now = time.monotonic()
        if queue.HasField("token_expire_time"):
            life = max(queue.token_expire_time.ToNanoseconds() / 1e9 - time.time(), 0.0)
        else:
            life = float("inf")
        self._renew_at, self._expire_at = now + life / 2, now + life


@contextmanager
def amqp_installed(queue: QueueAccess) -> Iterator[None]:
    """Raise UnsupportedBroker where the block finds that AMQP is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        address = f"{queue.broker_address} (pip install 'ewms-grpc[rabbitmq]')"
        raise UnsupportedBroker("rabbitmq", address) from error
