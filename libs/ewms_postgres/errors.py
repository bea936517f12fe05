"""What can go wrong between us and PostgreSQL, and the one place where it is translated.

    DatabaseError
    ├── DatabaseUnavailable          .retry_after
    ├── ConcurrencyConflict          run the transaction again
    │   ├── SerializationFailure
    │   ├── DeadlockDetected
    │   └── PlanInvalidated
    ├── ConstraintViolation          .constraint
    │   └── UniqueViolation
    ├── StatementTimeout
    ├── LockNotAvailable
    ├── TextRefused
    ├── PrivilegeMissing
    ├── DatabaseTooNew               .found, .known
    └── DatabaseTooOld               .found, .known

No message ever holds a statement or a row's values, since messages travel to logs and further;
the driver's own error stays reachable as `__cause__`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

import asyncpg

__all__ = [
    "DRIVER_ERRORS",
    "ConcurrencyConflict",
    "ConstraintViolation",
    "DatabaseError",
    "DatabaseTooNew",
    "DatabaseTooOld",
    "DatabaseUnavailable",
    "DeadlockDetected",
    "LockNotAvailable",
    "PlanInvalidated",
    "PrivilegeMissing",
    "SerializationFailure",
    "StatementTimeout",
    "TextRefused",
    "UniqueViolation",
    "is_lost",
    "translated",
]

DRIVER_ERRORS = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)
"""All that the driver raises; a TimeoutError is an OSError."""

_SOON = timedelta(seconds=1)
_WHEN_RESOURCES_RETURN = timedelta(seconds=10)


class DatabaseError(Exception):
    """Root of all errors of this library; raised itself for what has no kind of its own."""


class DatabaseUnavailable(DatabaseError):
    """The server cannot serve now: away, starting, stopping, out of connections or of room.

    When it arises during a commit, the outcome of that transaction is unknown: repeat only what
    is idempotent. `retry_after` says how long to wait before trying again, `condition` how the
    database is, in words that anybody may read.
    """

    def __init__(
        self,
        message: str,
        retry_after: timedelta = _SOON,
        *,
        condition: str = "the database is away",
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.condition = condition


class ConcurrencyConflict(DatabaseError):
    """The transaction lost against another one and had no effect; run it again as a whole."""


class SerializationFailure(ConcurrencyConflict):
    """What the transaction read has been changed by another one that committed."""


class DeadlockDetected(ConcurrencyConflict):
    """The transaction waited in a circle with others and was chosen to give way."""


class PlanInvalidated(ConcurrencyConflict):
    """A table changed its shape under a prepared statement; it is prepared anew next time."""


class ConstraintViolation(DatabaseError):
    """A constraint refused a row. `constraint` is its name in the schema."""

    def __init__(self, message: str, constraint: str) -> None:
        super().__init__(message)
        self.constraint = constraint


class UniqueViolation(ConstraintViolation):
    """A row with the same key exists already. `constraint` names the key."""


class StatementTimeout(DatabaseError):
    """The statement ran into its time limit, or an operator cancelled it."""


class LockNotAvailable(DatabaseError):
    """A lock was wanted at once (NOWAIT), or within `lock_timeout`, and was not free."""


class TextRefused(DatabaseError):
    """A text holds a character that PostgreSQL cannot keep: NUL."""


class PrivilegeMissing(DatabaseError):
    """The role may not do this: change a schema, or use what it was not granted."""


class DatabaseTooNew(DatabaseError):
    """The schema was written by a newer version of the program, which only that one may use.

    `found` is the database's revision, `known` the newest one of the running program.
    """

    def __init__(self, schema: str, found: str, known: str) -> None:
        super().__init__(
            f"schema {schema!r} is at revision {found!r}, which this version does not know"
            f" (its newest is {known!r}); run the newer version"
        )
        self.found = found
        self.known = known


class DatabaseTooOld(DatabaseError):
    """The schema was written by an older version, which may be at work still.

    `found` is the database's revision, `known` the newest one of the running program.
    """

    def __init__(self, schema: str, found: str, known: str) -> None:
        super().__init__(
            f"schema {schema!r} is at revision {found!r}, older than this version's {known!r}:"
            " stop what uses it, run `ewms db upgrade`"
        )
        self.found = found
        self.known = known


class _Connection(Protocol):
    def is_closed(self) -> bool: ...
    def terminate(self) -> None: ...


def is_lost(connection: _Connection) -> bool:
    """Whether the connection is closed; the pool has taken a lost one back by itself already."""
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:
        return True


@contextmanager
def translated(connection: _Connection | None = None) -> Iterator[None]:
    """Raise the driver's errors of the block as errors of this module.

    Wrap single driver calls with it and never a caller's code, whose OSError and TimeoutError
    are its own. `connection` is the connection in use, if there is one already.
    """
    try:
        yield
    except DRIVER_ERRORS as error:
        raise _translate(error, connection) from error


def _translate(error: Exception, connection: _Connection | None) -> DatabaseError:
    match error:
        case asyncpg.InternalClientError():
            # The driver's state when the server said goodbye to an idle connection and the end of
            # the stream has not been read yet; nothing works on it any more.
            if connection is not None and not is_lost(connection):
                connection.terminate()
            return DatabaseUnavailable("the connection to the database was lost")
        case TimeoutError():
            return StatementTimeout("the database did not answer in time")
        case OSError():
            # The system's own words name host and port, and never a password.
            return DatabaseUnavailable(f"cannot reach the database: {error}")
        case asyncpg.UniqueViolationError():
            return UniqueViolation(
                f"a row with this key exists ({error.constraint_name})", error.constraint_name or ""
            )
        case asyncpg.IntegrityConstraintViolationError():
            name = error.constraint_name or error.column_name or ""
            return ConstraintViolation(f"a constraint was violated ({name})", name)
        case asyncpg.SerializationError():
            return SerializationFailure("another transaction changed what this one had read")
        case asyncpg.DeadlockDetectedError():
            return DeadlockDetected("transactions waited for one another in a circle")
        case asyncpg.InvalidCachedStatementError():
            return PlanInvalidated("a table changed its shape under a prepared statement")
        case asyncpg.LockNotAvailableError():
            return LockNotAvailable("a lock was not free in time")
        case asyncpg.QueryCanceledError():
            return StatementTimeout("the statement was cancelled, most likely by its time limit")
        case asyncpg.TooManyConnectionsError():
            condition = "the database has no connection left"
            return DatabaseUnavailable(condition, condition=condition)
        case asyncpg.InsufficientResourcesError():
            is_full = isinstance(error, asyncpg.DiskFullError)
            condition = "the database's disk is full" if is_full else "the database lacks resources"
            return DatabaseUnavailable(
                f"{condition} ({error.sqlstate})", _WHEN_RESOURCES_RETURN, condition=condition
            )
        case (
            asyncpg.PostgresConnectionError()
            | asyncpg.OperatorInterventionError()
            | asyncpg.IdleInTransactionSessionTimeoutError()
        ):
            return DatabaseUnavailable(f"the database closed the connection ({error.sqlstate})")
        case asyncpg.InterfaceError() if connection is not None and is_lost(connection):
            return DatabaseUnavailable("the connection to the database was lost")
        case (
            asyncpg.InvalidAuthorizationSpecificationError() | asyncpg.InvalidCatalogNameError()
        ) if connection is None:
            return DatabaseError(f"the database refuses the connection: {error}")
        case asyncpg.ObjectNotInPrerequisiteStateError() if connection is None:
            return DatabaseUnavailable("the database does not accept connections now")
        case asyncpg.InsufficientPrivilegeError():
            return PrivilegeMissing(f"the database's role lacks a right ({error})")
        case asyncpg.CharacterNotInRepertoireError() | asyncpg.UntranslatableCharacterError():
            return TextRefused("a text holds a character that the database cannot keep")
        case asyncpg.PostgresError():
            return DatabaseError(f"the database refused a statement ({error.sqlstate})")
        case _:
            return DatabaseError(f"the database driver refused a call ({type(error).__name__})")
