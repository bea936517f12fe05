"""What the rules refuse, as typed errors.

    DomainError
    ├── InvalidSubmission   the request breaks rules; every violation with its path
    ├── NotFound            there is no such resource
    ├── AlreadyExists       a request id was used for other content
    ├── NotAllowedNow       the resource's state does not allow it
    ├── PositionLost        a watch or a page asks for what is not there to go on from
    └── PeerUnavailable     a peer that the call needs does not answer

`api/errors.py` has the one table that turns them into gRPC's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

__all__ = [
    "AlreadyExists",
    "DomainError",
    "InvalidSubmission",
    "NotAllowedNow",
    "NotFound",
    "PeerUnavailable",
    "PositionLost",
    "Violation",
]


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule that one field breaks; `path` as in `tasks[0].worker_config.worker_memory`."""

    path: str
    description: str


class DomainError(Exception):
    """Base of what the rules refuse."""


class InvalidSubmission(DomainError):
    """The request breaks rules; `violations` names each field."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        self.violations = tuple(violations)
        super().__init__("; ".join(f"{v.path}: {v.description}" for v in self.violations[:10]))


class NotFound(DomainError):
    """There is no resource of that type (`workflow`, `task directive`, …) and name."""

    def __init__(self, resource_type: str, name: str) -> None:
        self.resource_type = resource_type
        self.name = name
        super().__init__(f"there is no {resource_type} {name!r}")


class AlreadyExists(DomainError):
    """The request id was used before, for other content."""

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        super().__init__(f"request id {request_id!r} was used for a request with other content")


class NotAllowedNow(DomainError):
    """The state of `subject` does not allow it; `kind` is a stable word for programs."""

    def __init__(self, kind: str, subject: str, description: str) -> None:
        self.kind = kind
        self.subject = subject
        super().__init__(description)


class PositionLost(DomainError):
    """There is nothing to go on from at that position of the feed."""


class PeerUnavailable(DomainError):
    """A peer that the call needs does not answer."""

    def __init__(self, description: str, retry_after: timedelta) -> None:
        self.retry_after = retry_after
        super().__init__(description)
