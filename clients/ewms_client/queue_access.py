"""The way into a public queue: its id, its broker, and a token that is renewed at half its life, so
that work on a queue may last longer than any token. A token is never logged nor put into an error.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from ewms.wms.v1 import workflow_service_pb2
from ewms_client.channel import Metadata
from ewms_client.errors import Unavailable, UnsupportedBroker

if TYPE_CHECKING:
    from ewms.mqs.v1.event_service_pb2_grpc import EventServiceAsyncStub

__all__ = ["QueueAccess"]

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
    ) -> None:
        if queue.broker_type != "postgres":
            raise UnsupportedBroker(queue.broker_type, queue.broker_address)
        self._look_up, self._stub_at = look_up, stub_at
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

    def reject_token(self) -> None:
        """The broker refused the token: fetch another for the next call."""
        self._renew_at = self._expire_at = 0.0

    async def require_there(self) -> None:
        """Return if there is still such a queue. QueueGone."""
        self._take(await self._look_up())

    async def _renew(self) -> None:
        try:
            self._take(await self._look_up())
        except Unavailable:
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
