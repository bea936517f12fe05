"""The keys that sign tokens and credentials, kept in the database and shared by all processes.

Tokens are signed by the newest key; an old public key stays until the last token that it can have
signed has expired. Credentials live as long as their workflow, so their key stays for good.
A private key never leaves this module but inside of a key object.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

import structlog
from joserfc.jwk import RSAKey

from ewms_mqs.config import MqsSettings
from ewms_mqs.signals import Signals
from ewms_postgres.database import Database, Transaction
from ewms_postgres.statements import statement

__all__ = ["KeyRing", "SigningKey"]

_log = structlog.get_logger(__name__)

_BITS = 2048
# An unknown key id makes us look again, but a flood of forged tokens does not.
_RELOAD_SECONDS = 1.0

_LOAD = statement(
    """
    SELECT kid, purpose, secret, extract(epoch FROM create_time)::float8 AS create_time,
      extract(epoch FROM expire_time)::float8 AS expire_time
    FROM mqs.keys WHERE expire_time IS NULL OR expire_time > now()
    ORDER BY create_time, kid
    """
)
_LOCK = statement("SELECT pg_advisory_xact_lock(5067604, 0)")
_HAS_SIGNING_KEY = statement(
    """
    SELECT EXISTS (
      SELECT FROM mqs.keys
      WHERE purpose = 'token' AND create_time > now() - :rotation::interval
        AND expire_time > now() + :life::interval)
    """
)
_ADD_SIGNING_KEY = statement(
    """
    INSERT INTO mqs.keys (kid, purpose, secret, expire_time)
    VALUES (:kid, 'token', :secret, now() + :rotation::interval + :life::interval)
    """
)
_ADD_CREDENTIAL_KEY = statement(
    """
    INSERT INTO mqs.keys (kid, purpose, secret) SELECT :kid, 'credential', :secret
    WHERE NOT EXISTS (SELECT FROM mqs.keys WHERE purpose = 'credential')
    """
)
_FORGET = statement("DELETE FROM mqs.keys WHERE expire_time < now()")


@dataclass(frozen=True)
class SigningKey:
    """A key for tokens; `expire_time` is when its last token has expired. Times are Unix times."""

    kid: str
    key: RSAKey
    create_time: float
    expire_time: float


class KeyRing:
    """The keys, as this process knows them."""

    def __init__(self, database: Database, signals: Signals, settings: MqsSettings) -> None:
        self._database = database
        self._signals = signals
        self._token_life: timedelta = settings.token_life
        self._rotation: timedelta = settings.key_rotation
        self._signing: dict[str, SigningKey] = {}
        self._credential_key = b""
        self._loaded_at = 0.0
        self._loading = asyncio.Lock()

    async def ensure_current(self) -> None:
        """Have a key that can sign for a whole token's life, making one if it is time."""
        await self.reload()
        if not self._signs_long_enough() or not self._credential_key:
            pem = await asyncio.to_thread(_generate)
            await self._database.transact(lambda tx: self._add(tx, pem))
            await self.reload()
            self._signals.keys_changed()

    def _signs_long_enough(self) -> bool:
        now = time.time()
        oldest = now - self._rotation.total_seconds()
        latest = now + self._token_life.total_seconds()
        return any(
            key.create_time > oldest and key.expire_time > latest for key in self._signing.values()
        )

    async def _add(self, tx: Transaction, pem: str) -> None:
        await tx.execute(_LOCK)
        if not await tx.fetchval(_HAS_SIGNING_KEY, rotation=self._rotation, life=self._token_life):
            kid = uuid4().hex
            await tx.execute(
                _ADD_SIGNING_KEY,
                kid=kid,
                secret=pem,
                rotation=self._rotation,
                life=self._token_life,
            )
            _log.info("new signing key", kid=kid)
        await tx.execute(_ADD_CREDENTIAL_KEY, kid=uuid4().hex, secret=secrets.token_hex(32))
        await tx.execute(_FORGET)

    async def reload(self) -> None:
        """Read the keys again."""
        rows = await self._database.fetch(_LOAD)
        signing: dict[str, SigningKey] = {}
        for row in rows:
            if row["purpose"] == "credential":
                self._credential_key = bytes.fromhex(row["secret"])
                continue
            known = self._signing.get(row["kid"])
            key = known.key if known else RSAKey.import_key(row["secret"], {"kid": row["kid"]})
            signing[row["kid"]] = SigningKey(
                row["kid"], key, row["create_time"], row["expire_time"]
            )
        self._signing = signing
        self._loaded_at = time.monotonic()

    @property
    def signing_key(self) -> SigningKey:
        """The newest key."""
        return next(reversed(self._signing.values()))

    @property
    def credential_key(self) -> bytes:
        """The key of credentials."""
        return self._credential_key

    async def find(self, kid: str) -> SigningKey | None:
        """A key by its id, though another process have made it a moment ago."""
        found = self._signing.get(kid)
        if found is None:
            async with self._loading:
                if time.monotonic() - self._loaded_at > _RELOAD_SECONDS:
                    await self.reload()
            found = self._signing.get(kid)
        if found is not None and found.expire_time <= time.time():
            return None
        return found

    def jwks_json(self) -> str:
        """The public keys as a JWK set (RFC 7517)."""
        now = time.time()
        public = [
            key.key.as_dict(private=False, kid=key.kid, use="sig", alg="RS256")
            for key in self._signing.values()
            if key.expire_time > now
        ]
        return json.dumps({"keys": public})


def _generate() -> str:
    return RSAKey.generate_key(_BITS).as_pem(private=True).decode()
