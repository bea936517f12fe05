"""Tokens of queues: JWTs that RabbitMQ's OAuth 2 backend understands, and EventService too.

A token allows to configure, read and write one queue, and to write to the default exchange. One
is used again while more than half of its life is left, since signing costs about a millisecond.
What is wrong with a token is said without quoting it.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jws import extract_compact

from ewms_mqs.config import MqsSettings
from ewms_mqs.errors import OtherQueue, TokenRefused
from ewms_mqs.keys import KeyRing, SigningKey
from ewms_mqs.model import Mqid, Queue

__all__ = ["Token", "Tokens"]

_MINTED_KEPT = 20_000
_VERIFIED_KEPT = 5_000
# So many are signed in one go in the thread, so that other work gets its turn.
_SIGNED_AT_ONCE = 64
_MAX_LENGTH = 8_192


@dataclass(frozen=True, slots=True)
class Token:
    """A token and when it expires, in Unix time."""

    text: str
    expire_time: float


class Tokens:
    """Mints tokens and says whether one is good."""

    def __init__(self, keys: KeyRing, settings: MqsSettings) -> None:
        self._keys = keys
        self._audience = settings.token_audience
        self._life = settings.token_life.total_seconds()
        self._minted: OrderedDict[Mqid, Token] = OrderedDict()
        self._signing: dict[Mqid, asyncio.Task[dict[Mqid, Token]]] = {}
        self._verified: OrderedDict[str, tuple[frozenset[str], float]] = OrderedDict()

    async def mint(self, queues: Sequence[Queue]) -> list[Token]:
        """A token for each of the queues, with at least half of its life ahead."""
        latest = time.time() + self._life / 2
        fresh: dict[Mqid, Token] = {}
        missing: list[Queue] = []
        for queue in queues:
            token = self._minted.get(queue.mqid)
            if token is not None and token.expire_time >= latest:
                fresh[queue.mqid] = token
            elif (signing := self._signing.get(queue.mqid)) is not None:
                fresh.update(await asyncio.shield(signing))
            if queue.mqid not in fresh:
                missing.append(queue)
        for start in range(0, len(missing), _SIGNED_AT_ONCE):
            fresh.update(
                await asyncio.shield(self._begin(missing[start : start + _SIGNED_AT_ONCE]))
            )
        return [fresh[queue.mqid] for queue in queues]

    def prepare(self, queues: Sequence[Queue]) -> None:
        """Begin to sign tokens that are wanted soon, if they are few."""
        if 0 < len(queues) <= _SIGNED_AT_ONCE:
            self._begin(queues)

    def _begin(self, queues: Sequence[Queue]) -> asyncio.Task[dict[Mqid, Token]]:
        task = asyncio.create_task(self._sign_aside(queues))
        self._signing.update((queue.mqid, task) for queue in queues)
        return task

    async def _sign_aside(self, queues: Sequence[Queue]) -> dict[Mqid, Token]:
        """Sign in a thread; others who want one of these tokens wait for this."""
        try:
            signed = await asyncio.to_thread(self._sign, self._keys.signing_key, queues)
        finally:
            for queue in queues:
                self._signing.pop(queue.mqid, None)
        tokens = dict(zip((queue.mqid for queue in queues), signed, strict=True))
        for mqid, token in tokens.items():
            _remember(self._minted, mqid, token, _MINTED_KEPT)
        return tokens

    def _sign(self, key: SigningKey, queues: Sequence[Queue]) -> list[Token]:
        now = int(time.time())
        # A key that is used beyond its time signs tokens that end with it.
        expire_time = int(min(now + self._life, key.expire_time))
        header = {"alg": "RS256", "typ": "JWT", "kid": key.kid}
        return [
            Token(
                jwt.encode(
                    header,
                    {
                        "aud": self._audience,
                        "sub": queue.workflow_id,
                        "iat": now,
                        "exp": expire_time,
                        "scope": self._scopes(queue.mqid),
                    },
                    key.key,
                ),
                expire_time,
            )
            for queue in queues
        ]

    def _scopes(self, mqid: Mqid) -> list[str]:
        prefix = self._audience
        return [
            f"{prefix}.configure:*/{mqid}",
            f"{prefix}.read:*/{mqid}",
            f"{prefix}.write:*/{mqid}",
            f"{prefix}.write:*/amq.default",
        ]

    async def require(self, token: str, mqid: Mqid) -> None:
        """Return if the token is good for the queue. Raises TokenRefused and OtherQueue."""
        known = self._verified.get(token)
        if known is None:
            known = await self._verify(token)
            _remember(self._verified, token, known, _VERIFIED_KEPT)
        scopes, expire_time = known
        if expire_time <= time.time():
            raise TokenRefused("the token has expired")
        if f"{self._audience}.read:*/{mqid}" not in scopes:
            raise OtherQueue

    async def _verify(self, token: str) -> tuple[frozenset[str], float]:
        bad = TokenRefused("the token is none of ours")
        if len(token) > _MAX_LENGTH:
            raise bad
        try:
            key = await self._keys.find(str(extract_compact(token.encode()).headers().get("kid")))
            if key is None:
                raise bad
            claims: dict[str, Any] = jwt.decode(token, key.key, algorithms=["RS256"]).claims
            scopes, expire_time = claims["scope"], float(claims["exp"])
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise bad from error
        if claims.get("aud") != self._audience or not isinstance(scopes, list):
            raise bad
        return frozenset(scopes), expire_time


def _remember(memory: OrderedDict[Any, Any], key: object, value: object, limit: int) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > limit:
        memory.popitem(last=False)
