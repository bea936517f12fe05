"""What an RPC of ours can answer other than OK, as typed exceptions, and the way back.

A servicer raises one of these; the server turns it into a status with `google.rpc` details that
always fits gRPC's trailers. A client gets the same type back from `from_rpc_error`. Nothing in an
error may hold a token, an SQL text or a stack trace: every word of it goes to the client.

    RpcError
    ├── InvalidArgument       INVALID_ARGUMENT      BadRequest
    ├── NotFound              NOT_FOUND             ResourceInfo
    ├── AlreadyExists         ALREADY_EXISTS        ResourceInfo
    ├── FailedPrecondition    FAILED_PRECONDITION   PreconditionFailure
    ├── ResourceExhausted     RESOURCE_EXHAUSTED    QuotaFailure, RetryInfo
    ├── Unavailable           UNAVAILABLE           RetryInfo
    ├── Unauthenticated       UNAUTHENTICATED
    ├── PermissionDenied      PERMISSION_DENIED
    ├── OutOfRange            OUT_OF_RANGE
    ├── Internal              INTERNAL              ErrorInfo with the correlation id
    └── Unclassified          any other code, as a client may meet it
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from ewms_rpc.details import (
    MESSAGE_BYTES,
    FieldViolation,
    PreconditionViolation,
    bad_request,
    precondition_failure,
    quota_failure,
    resource_info,
    retry_info,
    summary,
    trimmed,
)

__all__ = [
    "DETAILS_KEY",
    "AlreadyExists",
    "FailedPrecondition",
    "FieldViolation",
    "Internal",
    "InvalidArgument",
    "NotFound",
    "OutOfRange",
    "PermissionDenied",
    "PreconditionViolation",
    "ResourceExhausted",
    "RpcError",
    "Unauthenticated",
    "Unavailable",
    "Unclassified",
    "from_rpc_error",
]

DETAILS_KEY = "grpc-status-details-bin"


class RpcError(Exception):
    """A status other than OK: its `code`, its `message`, and what its details carry."""

    code: grpc.StatusCode
    message: str
    retry_after: timedelta | None = None

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def details(self) -> list[Message]:
        """The `google.rpc` messages that go with the status."""
        return []

    def to_status(self) -> status_pb2.Status:
        """The status as it goes over the wire; never more than 4 KiB."""
        status = status_pb2.Status(
            code=self.code.value[0], message=trimmed(self.message, MESSAGE_BYTES)
        )
        for detail in self.details():
            status.details.add().Pack(detail)
        return status


class InvalidArgument(RpcError):
    """The request breaks the contract, whatever the system's state; carries every violation.

    What a client gets is cut to the violations that fit, and how many more there are.
    """

    code = grpc.StatusCode.INVALID_ARGUMENT

    def __init__(self, violations: Sequence[FieldViolation], message: str | None = None) -> None:
        self.violations = tuple(violations)
        super().__init__(message or summary([v.in_words() for v in violations]))

    def details(self) -> list[Message]:
        return [bad_request(self.violations)]


class NotFound(RpcError):
    """There is no such resource, or the caller may not know of it."""

    code = grpc.StatusCode.NOT_FOUND

    def __init__(self, resource_type: str, name: str, description: str = "") -> None:
        self.resource_type, self.name = resource_type, name
        self.description = description or f"there is no {resource_type} {name}"
        super().__init__(self.description)

    def details(self) -> list[Message]:
        return [resource_info(self.resource_type, self.name, self.description)]


class AlreadyExists(RpcError):
    """The name or request id is taken, by something other than what is asked for."""

    code = grpc.StatusCode.ALREADY_EXISTS

    def __init__(self, resource_type: str, name: str, description: str) -> None:
        self.resource_type, self.name, self.description = resource_type, name, description
        super().__init__(description)

    def details(self) -> list[Message]:
        return [resource_info(self.resource_type, self.name, self.description)]


class FailedPrecondition(RpcError):
    """The system's state forbids it, and trying again will not help until that changes."""

    code = grpc.StatusCode.FAILED_PRECONDITION

    def __init__(
        self, violations: Sequence[PreconditionViolation], message: str | None = None
    ) -> None:
        self.violations = tuple(violations)
        super().__init__(message or summary([v.description for v in violations]))

    def details(self) -> list[Message]:
        return [precondition_failure(self.violations)]


class ResourceExhausted(RpcError):
    """A limit is reached: the subject's name, the words, and when to try again, if ever."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED

    def __init__(
        self, subject: str, description: str, retry_after: timedelta | None = None
    ) -> None:
        self.subject, self.description, self.retry_after = subject, description, retry_after
        super().__init__(description)

    def details(self) -> list[Message]:
        return [quota_failure(self.subject, self.description), *retry_info(self.retry_after)]


class Unavailable(RpcError):
    """Not now: a server that drains, a peer that is away. The same call may be tried again."""

    code = grpc.StatusCode.UNAVAILABLE

    def __init__(self, description: str, retry_after: timedelta | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(description)

    def details(self) -> list[Message]:
        return [*retry_info(self.retry_after)]


class Unauthenticated(RpcError):
    """The call does not say who makes it, or says it with a credential that does not hold."""

    code = grpc.StatusCode.UNAUTHENTICATED


class PermissionDenied(RpcError):
    """The caller is known, and may not do this."""

    code = grpc.StatusCode.PERMISSION_DENIED


class OutOfRange(RpcError):
    """A position that is compacted away, of another epoch, or not reached yet."""

    code = grpc.StatusCode.OUT_OF_RANGE


class Internal(RpcError):
    """A fault of ours: the client is told the id under which the log has the cause, no more."""

    code = grpc.StatusCode.INTERNAL

    def __init__(self, correlation_id: str, message: str | None = None) -> None:
        self.correlation_id = correlation_id
        super().__init__(message or f"internal error; correlation id {correlation_id}")

    def details(self) -> list[Message]:
        info = error_details_pb2.ErrorInfo(reason="INTERNAL", domain="ewms")
        info.metadata["correlation_id"] = self.correlation_id
        return [info]


class Unclassified(RpcError):
    """Any other status that a client may meet: DEADLINE_EXCEEDED, UNIMPLEMENTED, and so on."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        self.code = code
        super().__init__(message)


def from_rpc_error(error: grpc.RpcError) -> RpcError:
    """The typed error behind a failed call, sync or async.

    Details that are missing, torn, or from a server that is not ours leave their fields empty;
    code and message are always there.
    """
    call: Any = error  # only its subclasses, of which there are several, say what they carry
    code, message = call.code(), call.details() or ""
    make = _FROM_DETAILS.get(code)
    return make(message, _details_of(call)) if make else Unclassified(code, message)


_Found = dict[str, Any]
_DETAIL_TYPES: tuple[type[Message], ...] = (
    error_details_pb2.BadRequest,
    error_details_pb2.ErrorInfo,
    error_details_pb2.PreconditionFailure,
    error_details_pb2.QuotaFailure,
    error_details_pb2.ResourceInfo,
    error_details_pb2.RetryInfo,
)


def _details_of(error: Any) -> _Found:
    found: _Found = {detail_type.DESCRIPTOR.name: detail_type() for detail_type in _DETAIL_TYPES}
    status = status_pb2.Status()
    try:
        for key, value in error.trailing_metadata() or ():
            if key == DETAILS_KEY:
                status.ParseFromString(value)
        for detail in status.details:
            message = found.get(detail.TypeName().rpartition(".")[2])
            if message is not None:
                detail.Unpack(message)
    except DecodeError:
        # What was read so far stands; the code and the message do not depend on it.
        return found
    return found


def _retry_after(found: _Found) -> timedelta | None:
    info: error_details_pb2.RetryInfo = found["RetryInfo"]
    return info.retry_delay.ToTimedelta() if info.HasField("retry_delay") else None


def _invalid_argument(message: str, found: _Found) -> RpcError:
    violations = found["BadRequest"].field_violations
    return InvalidArgument([FieldViolation(v.field, v.description) for v in violations], message)


def _failed_precondition(message: str, found: _Found) -> RpcError:
    return FailedPrecondition(
        [
            PreconditionViolation(v.type, v.subject, v.description)
            for v in found["PreconditionFailure"].violations
        ],
        message,
    )


def _resource_exhausted(message: str, found: _Found) -> RpcError:
    subjects = [violation.subject for violation in found["QuotaFailure"].violations]
    return ResourceExhausted(subjects[0] if subjects else "", message, _retry_after(found))


def _internal(message: str, found: _Found) -> RpcError:
    return Internal(found["ErrorInfo"].metadata.get("correlation_id", ""), message)


_FROM_DETAILS: dict[grpc.StatusCode, Callable[[str, _Found], RpcError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: _invalid_argument,
    grpc.StatusCode.NOT_FOUND: lambda message, found: NotFound(
        found["ResourceInfo"].resource_type, found["ResourceInfo"].resource_name, message
    ),
    grpc.StatusCode.ALREADY_EXISTS: lambda message, found: AlreadyExists(
        found["ResourceInfo"].resource_type, found["ResourceInfo"].resource_name, message
    ),
    grpc.StatusCode.FAILED_PRECONDITION: _failed_precondition,
    grpc.StatusCode.RESOURCE_EXHAUSTED: _resource_exhausted,
    grpc.StatusCode.UNAVAILABLE: lambda message, found: Unavailable(message, _retry_after(found)),
    grpc.StatusCode.UNAUTHENTICATED: lambda message, _: Unauthenticated(message),
    grpc.StatusCode.PERMISSION_DENIED: lambda message, _: PermissionDenied(message),
    grpc.StatusCode.OUT_OF_RANGE: lambda message, _: OutOfRange(message),
    grpc.StatusCode.INTERNAL: _internal,
}
