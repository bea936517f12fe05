"""Which stack a program belongs to, so that the parts of one never work with those of another.

Two stacks on one machine can be given the same address. Whoever then reaches the other one's
server must not take it for its own: each part names its stack with every call, and a server
answers one that names another as if it were not there. Who names none is served by all.
"""

from __future__ import annotations

from ewms_rpc.errors import Unavailable
from ewms_rpc.identity import Authenticator, Identity, LoopbackUser, Metadata

__all__ = ["StackMembers", "user_agent_of"]

_PREFIX = "ewms-stack/"


def user_agent_of(stack: str) -> str:
    """What a client of the stack begins its user agent with: no call needs metadata for it."""
    return f"{_PREFIX}{stack}"


class StackMembers:
    """Authenticates as `inner` does, but for members of other stacks, for whom nobody is here.

    Parameters
    ----------
    stack
        The server's own; empty for one that stands for itself.
    inner
        Who may call otherwise.
    """

    def __init__(self, stack: str, inner: Authenticator | None = None) -> None:
        self._stack = stack
        self._inner = inner or LoopbackUser()

    def authenticate(self, metadata: Metadata) -> Identity:
        """The caller. Raises `Unavailable` for one of another stack, and what `inner` raises."""
        named = _stack_of(metadata)
        if named and named != self._stack:
            raise Unavailable("a server of another stack listens here, not the caller's own")
        return self._inner.authenticate(metadata)


def _stack_of(metadata: Metadata) -> str:
    for key, value in metadata:
        if key == "user-agent" and isinstance(value, str) and value.startswith(_PREFIX):
            return value.removeprefix(_PREFIX).partition(" ")[0]
    return ""
