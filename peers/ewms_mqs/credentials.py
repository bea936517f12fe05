"""The credential of a taskforce's pilots, which holds for longer than any token.

It names workflow, taskforce and queues and is signed, so that minting one touches no database,
and the same request gets the same one. It ends with the release of the queues or by revocation,
both of which are looked up whenever it is used. It authorises nothing but fetching tokens.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass

from ewms_mqs.errors import OtherQueue, TokenRefused
from ewms_mqs.keys import KeyRing
from ewms_mqs.model import Mqid, Queue, TaskforceId, WorkflowId
from ewms_postgres.database import Database
from ewms_postgres.statements import statement

__all__ = ["MAX_QUEUES", "PREFIX", "Credentials"]

PREFIX = "ewms-pilot."
# It travels in the metadata of calls, of which gRPC takes 8 KiB.
MAX_QUEUES = 100
_MAX_LENGTH = 8_192

_HOLDS = statement(
    """
    SELECT EXISTS (
      SELECT FROM mqs.workflows WHERE workflow_id = :workflow AND release_time IS NULL
    ) AND NOT EXISTS (
      SELECT FROM mqs.revocations WHERE workflow_id = :workflow AND taskforce_uuid = :taskforce
    )
    """
)
_REVOKE = statement(
    """
    INSERT INTO mqs.revocations (workflow_id, taskforce_uuid)
    SELECT :workflow, :taskforce
    WHERE NOT EXISTS (
      SELECT FROM mqs.workflows WHERE workflow_id = :workflow AND release_time IS NOT NULL)
    ON CONFLICT DO NOTHING
    """
)


@dataclass(frozen=True, slots=True)
class _Contents:
    """What a credential says; no queues means all of the workflow."""

    workflow_id: WorkflowId
    taskforce_id: TaskforceId
    mqids: tuple[Mqid, ...]


class Credentials:
    """Mints, checks and revokes credentials."""

    def __init__(self, database: Database, keys: KeyRing) -> None:
        self._database = database
        self._keys = keys

    def mint(
        self, workflow_id: WorkflowId, taskforce_id: TaskforceId, mqids: Sequence[Mqid]
    ) -> str:
        """The credential for these queues (at most `MAX_QUEUES`; none: all of the workflow)."""
        contents = json.dumps([workflow_id, taskforce_id, *mqids], separators=(",", ":")).encode()
        return f"{PREFIX}{_text(contents)}.{_text(self._signature(contents))}"

    async def require(self, credential: str, queue: Queue) -> None:
        """Return if the credential holds for the queue. Raises TokenRefused and OtherQueue."""
        contents = self._read(credential)
        holds = await self._database.fetchval(
            _HOLDS, workflow=contents.workflow_id, taskforce=contents.taskforce_id
        )
        if not holds:
            raise TokenRefused("the credential has ended")
        is_named = not contents.mqids or queue.mqid in contents.mqids
        if queue.workflow_id != contents.workflow_id or not is_named:
            raise OtherQueue

    def require_ours(self, credential: str) -> None:
        """Return if we signed the credential, whether or not it still holds."""
        self._read(credential)

    async def revoke(self, workflow_id: WorkflowId, taskforce_id: TaskforceId) -> None:
        """End the credential of a taskforce, whether one was minted or not, for good."""
        await self._database.execute(_REVOKE, workflow=workflow_id, taskforce=taskforce_id)

    def _read(self, credential: str) -> _Contents:
        bad = TokenRefused("the credential is none of ours")
        contents_text, _, signature_text = credential.removeprefix(PREFIX).partition(".")
        if len(credential) > _MAX_LENGTH:
            raise bad
        try:
            contents, signature = _bytes(contents_text), _bytes(signature_text)
        except (binascii.Error, ValueError) as error:
            raise bad from error
        if not hmac.compare_digest(signature, self._signature(contents)):
            raise bad
        workflow_id, taskforce_id, *mqids = json.loads(contents)
        return _Contents(workflow_id, taskforce_id, tuple(mqids))

    def _signature(self, contents: bytes) -> bytes:
        return hmac.digest(self._keys.credential_key, contents, hashlib.sha256)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
