"""Access to one queue at its broker: the channel, the token, and calls that outlive an outage.

A call is repeated until it is answered or refused for good, through restarts of the broker and
expired tokens. A token is renewed at half its life, with the credential if there is one. Tokens
are read (their times), never checked: that is the broker's business. Nothing here logs a token.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import grpc.aio

from ewms.mqs.v1 import event_service_pb2 as pb
from ewms.mqs.v1.event_service_pb2_grpc import EventServiceStub
from ewms_pilot.backoff import Backoff
from ewms_pilot.environment import QueueAddress
from ewms_pilot.errors import QueueRefused

if TYPE_CHECKING:
    from ewms.mqs.v1.event_service_pb2_grpc import EventServiceAsyncStub

__all__ = ["Channels", "QueueAccess", "describe"]

_LOG = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")
_MAX_MESSAGE = 17 * 1024 * 1024
_CALL_TIMEOUT = 30.0
_MAX_UNAUTHENTICATED = 5
_LEAST_WAIT = 0.1
_TRANSIENT = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
    }
)
_OPTIONS: list[tuple[str, int]] = [
    ("grpc.max_send_message_length", _MAX_MESSAGE),
    ("grpc.max_receive_message_length", _MAX_MESSAGE),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 10_000),
    # The proxies that workers are given are web caches, which tunnel to no broker.
    ("grpc.enable_http_proxy", 0),
]


class Channels:
    """One channel for each broker, however many queues it has.

    Parameters
    ----------
    ca
        The CA of brokers that speak TLS, as PEM; None for those that gRPC brings.
    """

    def __init__(self, ca: bytes | None = None) -> None:
        self._ca = ca
        self._channels: dict[tuple[str, bool], grpc.aio.Channel] = {}

    def to(self, address: QueueAddress) -> grpc.aio.Channel:
        """The channel to a queue's broker; it connects with the first call."""
        key = (address.broker_address, address.broker_tls)
        if key not in self._channels:
            self._channels[key] = (
                grpc.aio.secure_channel(key[0], grpc.ssl_channel_credentials(self._ca), _OPTIONS)
                if address.broker_tls
                else grpc.aio.insecure_channel(key[0], _OPTIONS)
            )
        return self._channels[key]

    async def close(self) -> None:
        """Close them all, and with them every call."""
        await asyncio.gather(*(channel.close() for channel in self._channels.values()))


@dataclass(frozen=True, slots=True)
class _Token:
    text: str = field(repr=False)
    half_life_left: float | None


class QueueAccess:
    """One queue's stub, with a token that stays fresh.

    Parameters
    ----------
    address
        The queue, with the token it came with, if any.
    channel
        To its broker.
    credential
        What tokens are fetched with; without it a token renews itself.
    """

    def __init__(
        self, address: QueueAddress, channel: grpc.aio.Channel, credential: str | None
    ) -> None:
        self.mqid = address.mqid
        self.stub: EventServiceAsyncStub = EventServiceStub(channel)
        self._credential = credential
        self._token = _known_token(address.auth_token)
        if credential and self._token is not None and self._token.half_life_left == 0.0:
            self._token = None
        self._renewing = asyncio.Lock()
        self._token_changed = asyncio.Event()
        self._n_unauthenticated = 0
        self.is_closed = self.is_drained = False

    async def metadata(self) -> tuple[tuple[str, str], ...]:
        """What authorises a call now; fetches the first token if there is none."""
        if self._token is None:
            await self.renew(None)
        assert self._token is not None
        return _bearer(self._token.text)

    async def fresh_token(self) -> tuple[str, float | None]:
        """A token that was minted now, and the seconds until it is half spent (None: never is)."""
        await self.renew(self._token)
        assert self._token is not None
        return self._token.text, self._token.half_life_left

    async def look(self) -> None:
        """See what the MQS says of the queue now. Raises QueueRefused."""
        await self.renew(self._token)

    async def keep_fresh(self) -> None:
        """Renew the token at half its life, until cancelled."""
        while True:
            self._token_changed.clear()
            wait = self._token.half_life_left if self._token else None
            try:
                async with asyncio.timeout(wait):
                    await self._token_changed.wait()
                continue
            except TimeoutError:
                pass
            try:
                await self.renew(self._token)
            except QueueRefused as refused:
                # The old token may do for what is left. If not, the call that needs it says so.
                _LOG.warning("a token is not renewed: %s", refused)
                await self._token_changed.wait()

    async def renew(self, stale: _Token | None) -> None:
        """Replace the token `stale`. Raises QueueRefused when the broker gives none."""
        async with self._renewing:
            if self._token is not stale:
                return
            secret = self._credential or (stale.text if stale else None)
            if secret is None:
                raise QueueRefused(self.mqid, "there is neither a token nor a credential")
            self._token = await self._fetch(secret)
            self._token_changed.set()
            _LOG.info("fresh token for queue %s", self.mqid)

    async def _fetch(self, secret: str) -> _Token:
        backoff = Backoff()
        while True:
            try:
                answer = await self.stub.RenewToken(
                    pb.RenewTokenRequest(mqid=self.mqid),
                    metadata=_bearer(secret),
                    timeout=_CALL_TIMEOUT,
                )
            except grpc.aio.AioRpcError as error:
                if error.code() not in _TRANSIENT:
                    raise QueueRefused(self.mqid, f"no token: {describe(error)}") from error
                _LOG.warning("queue %s: no token yet: %s", self.mqid, describe(error))
                await backoff.wait()
                continue
            profile = answer.profile
            # As of now; a queue that was drained stays so.
            self.is_closed, self.is_drained = profile.is_closed, profile.is_drained
            times = _token_times(profile.auth_token)
            # The broker's clock alone: a worker's own may be wrong by more than a token lives.
            life = times[1] - times[0] if times else profile.token_expire_time.seconds - time.time()
            return _Token(profile.auth_token, max(life / 2, _LEAST_WAIT))

    async def recover(self, error: grpc.aio.AioRpcError, backoff: Backoff) -> None:
        """After a failed call: come back when it may be repeated. Raises QueueRefused if never."""
        if error.code() is grpc.StatusCode.UNAUTHENTICATED:
            self._n_unauthenticated += 1
            if self._n_unauthenticated > _MAX_UNAUTHENTICATED:
                raise QueueRefused(self.mqid, describe(error)) from error
            await self.renew(self._token)
        elif error.code() not in _TRANSIENT:
            raise QueueRefused(self.mqid, describe(error)) from error
        _LOG.warning("queue %s: %s", self.mqid, describe(error))
        await backoff.wait()

    def answered(self) -> None:
        """The broker took the token."""
        self._n_unauthenticated = 0

    async def call(self, method: Callable[..., Awaitable[_Answer]], request: Any) -> _Answer:
        """Repeat an idempotent call until it is answered. Raises QueueRefused if it never is."""
        backoff = Backoff()
        while True:
            try:
                answer = await method(
                    request, metadata=await self.metadata(), timeout=_CALL_TIMEOUT
                )
            except grpc.aio.AioRpcError as error:
                await self.recover(error, backoff)
                continue
            self.answered()
            return answer


def describe(error: grpc.aio.AioRpcError) -> str:
    """A failed call in words."""
    return f"{error.code().name}: {error.details()}"


def _bearer(secret: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {secret}"),)


def _known_token(text: str | None) -> _Token | None:
    """The token from the environment; it has waited with the job, for how long its times say."""
    if text is None:
        return None
    times = _token_times(text)
    if times is None:
        return _Token(text, None)
    return _Token(text, max((times[0] + times[1]) / 2 - time.time(), 0.0))


def _token_times(text: str) -> tuple[float, float] | None:
    """When a JWT was issued and when it expires; None if that cannot be read."""
    try:
        payload = text.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return float(claims["iat"]), float(claims["exp"])
    except (IndexError, KeyError, TypeError, ValueError):
        return None
