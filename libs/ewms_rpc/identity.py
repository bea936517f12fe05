"""Who makes a call.

An authenticator turns a call's metadata into an identity, before any code of the service runs.
It is called once for each call on the event loop, so it must be quick and never block.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

__all__ = ["LOCAL", "Authenticator", "Identity", "LoopbackUser", "Metadata"]

Metadata = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller: the name that owns what it makes, and the claims of its credential, if any."""

    name: str
    claims: Mapping[str, object] | None = None


class Authenticator(Protocol):
    """Decides who makes a call."""

    def authenticate(self, metadata: Metadata) -> Identity:
        """The caller, by the call's metadata (keys in lower case, `-bin` values as bytes).

        Raises `Unauthenticated` when nobody stands behind it, `PermissionDenied` when somebody
        does who may not call this service at all, `Unavailable` when he looks for another server.
        """
        ...


LOCAL = Identity("local")


class LoopbackUser:
    """Everyone is the user `local`: for a server that only this machine can reach."""

    def authenticate(self, metadata: Metadata) -> Identity:
        """Always `LOCAL`."""
        return LOCAL
