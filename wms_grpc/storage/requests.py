"""Request ids: what makes a repeated call safe.

A mutation's (owner, RPC, id) is written in the transaction of the mutation itself, with a hash of
the request's content, and kept as long as the workflow.
"""

from __future__ import annotations

from dataclasses import dataclass

from ewms_postgres.database import Executor
from ewms_postgres.statements import statement
from wms_grpc.domain.errors import AlreadyExists
from wms_grpc.domain.ids import WorkflowId
from wms_grpc.storage.revisions import RevisionSet

__all__ = ["RequestKey", "find_repeat", "is_repeat"]

_FIND = statement("""
    SELECT content_hash, subject FROM wms.request
    WHERE owner = :owner AND rpc = :rpc AND request_id = :request_id
""")

_REMEMBER = statement("""
    INSERT INTO wms.request (owner, rpc, request_id, content_hash, workflow_id, subject)
    VALUES (:owner, :rpc, :request_id, :content_hash, :workflow_id, :subject)
    ON CONFLICT (owner, rpc, request_id) DO NOTHING
""")


@dataclass(frozen=True, slots=True)
class RequestKey:
    """What a mutation is known by. An empty `request_id` is never remembered."""

    owner: str
    rpc: str
    request_id: str
    content_hash: bytes


async def find_repeat(executor: Executor, key: RequestKey) -> str | None:
    """Return what the request of this id made, None if it is new.

    Raises AlreadyExists if the id was used for other content.
    """
    if not key.request_id:
        return None
    row = await executor.fetchrow(_FIND, owner=key.owner, rpc=key.rpc, request_id=key.request_id)
    if row is None:
        return None
    if row["content_hash"] != key.content_hash:
        raise AlreadyExists(key.request_id)
    return str(row["subject"])


async def is_repeat(
    revisions: RevisionSet, key: RequestKey, workflow_id: WorkflowId, subject: str
) -> str | None:
    """Remember the request within the transaction; return what it made if it is a repeat.

    Waits for a transaction that is writing the same id. Raises AlreadyExists as `find_repeat`.
    """
    if not key.request_id:
        return None
    written = await revisions.tx.execute(
        _REMEMBER,
        owner=key.owner,
        rpc=key.rpc,
        request_id=key.request_id,
        content_hash=key.content_hash,
        workflow_id=workflow_id,
        subject=subject,
    )
    return None if written else await find_repeat(revisions.tx, key)
