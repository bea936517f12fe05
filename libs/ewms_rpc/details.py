"""`google.rpc` details that fit gRPC's trailers, however long the texts are that go into them.

Guarantees that a status made of these parts is at most 4 KiB, and says how many entries were
left out. Must never raise for a text, whatever is in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from google.protobuf.message import Message
from google.rpc import error_details_pb2

__all__ = [
    "MESSAGE_BYTES",
    "FieldViolation",
    "PreconditionViolation",
    "bad_request",
    "precondition_failure",
    "quota_failure",
    "resource_info",
    "retry_info",
    "summary",
    "trimmed",
]

# Trailers above 8 KiB may be dropped on the way. 4 KiB of status are 5.4 KiB in base64, and the
# message travels once more beside them, each byte of it as three at worst.
STATUS_BYTES = 4096
MESSAGE_BYTES = 512
NAME_BYTES = 256
_LISTED_BYTES = STATUS_BYTES - MESSAGE_BYTES - 256


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One bad field: its path (`tasks[0].n_workers`; empty for the whole) and what is wrong."""

    path: str
    description: str

    def in_words(self) -> str:
        """Path and description in one line."""
        return f"{self.path}: {self.description}" if self.path else self.description


@dataclass(frozen=True, slots=True)
class PreconditionViolation:
    """One thing in the way: its type (`WORKFLOW_STATE`), the subject's name, and the words."""

    type: str
    subject: str
    description: str

    def in_words(self) -> str:
        """The description, which names the subject."""
        return self.description


_Violation = TypeVar("_Violation")
_Entry = TypeVar("_Entry", bound=Message)


def trimmed(text: str, limit: int) -> str:
    """The text, or as much of it as `limit` bytes of UTF-8 hold, with an ellipsis."""
    encoded = text.encode(errors="replace")
    if len(encoded) <= limit:
        return encoded.decode()
    return encoded[: limit - 3].decode(errors="ignore") + "…"


def summary(descriptions: Sequence[str]) -> str:
    """One line for a person: the first description, and how many more there are."""
    if not descriptions:
        return ""
    first = trimmed(descriptions[0], MESSAGE_BYTES - 32)
    return first if len(descriptions) == 1 else f"{first} (and {len(descriptions) - 1} more)"


def _fitting(
    violations: Sequence[_Violation],
    entry_of: Callable[[_Violation], _Entry],
    entry_of_rest: Callable[[str], _Entry],
) -> Iterator[_Entry]:
    room = _LISTED_BYTES
    for index, violation in enumerate(violations):
        entry = entry_of(violation)
        room -= entry.ByteSize() + 3  # the tag and the length before each entry
        if room < 0:
            yield entry_of_rest(f"and {len(violations) - index} more")
            return
        yield entry


def bad_request(violations: Sequence[FieldViolation]) -> Message:
    """As many violations as fit, then how many more there are."""
    entry = error_details_pb2.BadRequest.FieldViolation
    failure: Message = error_details_pb2.BadRequest(
        field_violations=_fitting(
            violations,
            lambda violation: entry(
                field=trimmed(violation.path, NAME_BYTES),
                description=trimmed(violation.description, MESSAGE_BYTES),
            ),
            lambda rest: entry(description=rest),
        )
    )
    return failure


def precondition_failure(violations: Sequence[PreconditionViolation]) -> Message:
    """As many violations as fit, then how many more there are."""
    entry = error_details_pb2.PreconditionFailure.Violation
    failure: Message = error_details_pb2.PreconditionFailure(
        violations=_fitting(
            violations,
            lambda violation: entry(
                type=trimmed(violation.type, NAME_BYTES),
                subject=trimmed(violation.subject, NAME_BYTES),
                description=trimmed(violation.description, MESSAGE_BYTES),
            ),
            lambda rest: entry(description=rest),
        )
    )
    return failure


def quota_failure(subject: str, description: str) -> Message:
    """Whose limit is reached, and which."""
    entry = error_details_pb2.QuotaFailure.Violation(
        subject=trimmed(subject, NAME_BYTES), description=trimmed(description, MESSAGE_BYTES)
    )
    failure: Message = error_details_pb2.QuotaFailure(violations=[entry])
    return failure


def resource_info(resource_type: str, name: str, description: str) -> Message:
    """Which resource a NOT_FOUND or ALREADY_EXISTS is about."""
    info: Message = error_details_pb2.ResourceInfo(
        resource_type=trimmed(resource_type, NAME_BYTES),
        resource_name=trimmed(name, NAME_BYTES),
        description=trimmed(description, MESSAGE_BYTES),
    )
    return info


def retry_info(retry_after: timedelta | None) -> Iterator[Message]:
    """When to try again: one message, or none without a time."""
    if retry_after is not None:
        info = error_details_pb2.RetryInfo()
        info.retry_delay.FromTimedelta(retry_after)
        yield info
