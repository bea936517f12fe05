"""What a servicer knows about the call that it serves.

One small object a call. What costs something (deadline, peer) is looked up only when asked for.
It must never hold a credential: the authenticator reads that, and passes on who it stands for.
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from typing import Any
from uuid import uuid4

from ewms_rpc.identity import LOCAL, Identity, Metadata

__all__ = ["REQUEST_ID_KEY", "CallContext", "current_call"]

REQUEST_ID_KEY = "x-request-id"
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,64}")

current_call: ContextVar[CallContext | None] = ContextVar("current_call", default=None)


class CallContext:
    """One call.

    Parameters
    ----------
    method
        The full name, `/ewms.wms.v1.WorkflowService/SubmitWorkflow`.
    identity
        Who calls. Without a server around (in tests) the user `local`.
    metadata
        What the client sent along, keys in lower case.
    grpc
        gRPC's own context, where a servicer needs what is not here.
    """

    __slots__ = ("_request_id", "grpc", "identity", "metadata", "method")

    def __init__(
        self,
        method: str = "",
        identity: Identity = LOCAL,
        metadata: Metadata = (),
        grpc: Any = None,
    ) -> None:
        self.method = method
        self.identity = identity
        self.metadata = metadata
        self.grpc = grpc
        self._request_id: str | None = None

    @property
    def request_id(self) -> str:
        """The client's `x-request-id` if it is a sound one, else a fresh one; in every log line."""
        if self._request_id is None:
            sent = dict(self.metadata).get(REQUEST_ID_KEY)
            is_sound = isinstance(sent, str) and _REQUEST_ID.fullmatch(sent) is not None
            self._request_id = str(sent) if is_sound else uuid4().hex
        return self._request_id

    @property
    def remaining(self) -> float | None:
        """Seconds until the client's deadline; None when it set none."""
        remaining: float | None = None if self.grpc is None else self.grpc.time_remaining()
        return remaining

    @property
    def peer(self) -> str:
        """The client's address as gRPC writes it, `ipv4:127.0.0.1:51234`."""
        return "" if self.grpc is None else str(self.grpc.peer())
