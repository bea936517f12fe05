"""The one table from our errors to gRPC's."""

from __future__ import annotations

from datetime import timedelta

from ewms_postgres.errors import (
    ConcurrencyConflict,
    DatabaseUnavailable,
    StatementTimeout,
    TextRefused,
)
from ewms_rpc import errors as rpc
from wms_grpc.domain import errors as domain

__all__ = ["rpc_error"]

_SOON = timedelta(seconds=1)


def rpc_error(error: Exception) -> rpc.RpcError | None:
    """Return what the client is told, None for what it must not know (INTERNAL)."""
    match error:
        case domain.InvalidSubmission():
            return rpc.InvalidArgument(
                [rpc.FieldViolation(v.path, v.description) for v in error.violations]
            )
        case domain.NotFound():
            return rpc.NotFound(error.resource_type, error.name)
        case domain.AlreadyExists():
            return rpc.AlreadyExists("request", error.request_id, str(error))
        case domain.NotAllowedNow():
            return rpc.FailedPrecondition(
                [rpc.PreconditionViolation(error.kind, error.subject, str(error))]
            )
        case domain.PositionLost():
            return rpc.OutOfRange(str(error))
        case domain.PeerUnavailable():
            return rpc.Unavailable(str(error), error.retry_after)
        case DatabaseUnavailable():
            return rpc.Unavailable(error.condition, error.retry_after)
        case TextRefused():
            return rpc.InvalidArgument([rpc.FieldViolation("", str(error))])
        case ConcurrencyConflict() | StatementTimeout():
            return rpc.Unavailable("the database is busy", _SOON)
        case _:
            return None
