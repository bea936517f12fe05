"""What a mutation is known by, from its message."""

from __future__ import annotations

from hashlib import sha256
from typing import Protocol

from ewms_rpc.context import CallContext
from wms_grpc.storage.requests import RequestKey

__all__ = ["request_key"]


class _Mutation(Protocol):
    @property
    def request_id(self) -> str: ...

    def SerializeToString(self, *, deterministic: bool = ...) -> bytes: ...


def request_key(request: _Mutation, context: CallContext) -> RequestKey:
    """Return the request's owner, RPC and id, and a hash of its content."""
    if not request.request_id:
        return RequestKey(context.identity.name, context.method.rpartition("/")[2], "", b"")
    return RequestKey(
        owner=context.identity.name,
        rpc=context.method.rpartition("/")[2],
        request_id=request.request_id,
        content_hash=sha256(request.SerializeToString(deterministic=True)).digest(),
    )
