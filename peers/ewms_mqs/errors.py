"""What can go wrong in the MQS, and the one table that says what it means on the wire.

MqsError
├── WorkflowNotFound       never granted
├── QueueNotFound          never granted, or released
├── DeadLettersNotFound    of the queue, under these ids
├── QueueClosed            accepts no more events
├── QueueDrained           final
├── QueueReleased          a private queue of which only the dead letters are left
├── QueuesReleased         the workflow's tombstone
├── TooManyQueues          more than one workflow can ever have
├── QueueTaken             the id, or other queues, of somebody else
├── RequestTaken           the request id, by other content
├── BrokerFull             .retry_after
├── BrokerNotReady         a broker elsewhere is away, short of something, or at its limit
├── EventsElsewhere        .broker: the clients speak to that broker themselves
├── TokenRefused           missing, bad, expired or revoked
└── OtherQueue             a good token, of another queue
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from ewms_mqs.model import Queue
from ewms_postgres.errors import (
    ConcurrencyConflict,
    DatabaseUnavailable,
    StatementTimeout,
    TextRefused,
)
from ewms_rpc.errors import (
    AlreadyExists,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    PreconditionViolation,
    ResourceExhausted,
    RpcError,
    Unauthenticated,
    Unavailable,
)

__all__ = [
    "BrokerFull",
    "BrokerNotReady",
    "DeadLettersNotFound",
    "EventsElsewhere",
    "MqsError",
    "OtherQueue",
    "QueueClosed",
    "QueueDrained",
    "QueueNotFound",
    "QueueReleased",
    "QueueTaken",
    "QueuesReleased",
    "RequestTaken",
    "TokenRefused",
    "TooManyQueues",
    "WorkflowNotFound",
    "in_words",
    "rpc_error_of",
]

_SOON = timedelta(seconds=1)
_MOST_NAMED = 10
_LONGEST_NAME = 64


class MqsError(Exception):
    """Root of the MQS's own errors."""

    def as_rpc(self) -> RpcError:
        """The error as a client gets it."""
        raise NotImplementedError


class WorkflowNotFound(MqsError):
    """No queues were ever granted to the workflow."""

    def __init__(self, workflow_id: str) -> None:
        super().__init__(f"workflow {workflow_id} has no queues here")
        self.workflow_id = workflow_id

    def as_rpc(self) -> RpcError:
        return NotFound("workflow", self.workflow_id, str(self))


class QueueNotFound(MqsError):
    """The queue was never granted, or it is released."""

    def __init__(self, mqid: str, queue: Queue | None = None) -> None:
        super().__init__(
            f"{in_words(queue)} is gone: it was released" if queue else f"there is no queue {mqid}"
        )
        self.name = _name(queue) if queue else mqid

    def as_rpc(self) -> RpcError:
        return NotFound("queue", self.name, str(self))


def in_words(queue: Queue) -> str:
    """The queue as people know it; its id says nothing to them."""
    return f"queue {queue.alias} of workflow {queue.workflow_id}"


def _name(queue: Queue) -> str:
    return f"{queue.workflow_id}/{queue.alias}"


class DeadLettersNotFound(MqsError):
    """The queue has no dead letters of these ids; the first of them are named."""

    def __init__(self, mqid: str, ids: Sequence[str]) -> None:
        named = ", ".join(text[:_LONGEST_NAME] for text in ids[:_MOST_NAMED])
        if len(ids) > _MOST_NAMED:
            named += f" and {len(ids) - _MOST_NAMED} more"
        super().__init__(f"queue {mqid} has no dead letter {named}")
        self.named = named

    def as_rpc(self) -> RpcError:
        return NotFound("dead letter", self.named, str(self))


class _Precondition(MqsError):
    """Something is in the way: the type and subject of a PreconditionFailure."""

    type: str

    def __init__(self, subject: str, words: str) -> None:
        super().__init__(words)
        self.subject = subject

    def as_rpc(self) -> RpcError:
        return FailedPrecondition([PreconditionViolation(self.type, self.subject, str(self))])


class QueueClosed(_Precondition):
    """The queue accepts no more events."""

    type = "QUEUE_CLOSED"

    def __init__(self, queue: Queue) -> None:
        super().__init__(_name(queue), f"{in_words(queue)} is closed")


class QueueDrained(_Precondition):
    """The queue is drained, and that is final."""

    type = "QUEUE_DRAINED"

    def __init__(self, queue: Queue) -> None:
        super().__init__(_name(queue), f"{in_words(queue)} is drained")


class QueueReleased(_Precondition):
    """The queue is gone, and only its dead letters can still be read."""

    type = "QUEUE_RELEASED"

    def __init__(self, mqid: str) -> None:
        words = f"queue {mqid} is released: its dead letters can be read, but not put back"
        super().__init__(mqid, words)


class QueuesReleased(_Precondition):
    """The workflow's queues have been released."""

    type = "QUEUES_RELEASED"

    def __init__(self, workflow_id: str) -> None:
        super().__init__(workflow_id, f"the queues of workflow {workflow_id} are released")


class TooManyQueues(_Precondition):
    """The workflow asks for more queues than it can ever be granted."""

    type = "QUEUE_LIMIT"

    def __init__(self, workflow_id: str, n_queues: int, limit: int) -> None:
        words = f"workflow {workflow_id} asks for {n_queues} queues; at most {limit} are possible"
        super().__init__(workflow_id, words)


class QueueTaken(MqsError):
    """The workflow was granted other queues, or a queue with such an id exists."""

    def __init__(self, workflow_id: str) -> None:
        super().__init__(f"workflow {workflow_id} has other queues, or an id is in use")
        self.workflow_id = workflow_id

    def as_rpc(self) -> RpcError:
        return AlreadyExists("queue", self.workflow_id, str(self))


class RequestTaken(MqsError):
    """The request id was used for another request."""

    def __init__(self, request_id: str) -> None:
        super().__init__(f"request {request_id} was another one")
        self.request_id = request_id

    def as_rpc(self) -> RpcError:
        return AlreadyExists("request", self.request_id, str(self))


class BrokerFull(MqsError):
    """The broker keeps as many events as it may; consumers must make room."""

    def __init__(self, limit: int, retry_after: timedelta) -> None:
        super().__init__(f"the broker keeps {limit} events and takes no more for now")
        self.retry_after = retry_after

    def as_rpc(self) -> RpcError:
        return ResourceExhausted("events", str(self), self.retry_after)


class BrokerNotReady(MqsError):
    """The broker cannot be had for now, in words that name the cause."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def as_rpc(self) -> RpcError:
        return Unavailable(self.reason, _SOON)


class EventsElsewhere(_Precondition):
    """Events of the queue are not served here, but by the broker itself."""

    type = "OTHER_BROKER"

    def __init__(self, queue: Queue, broker: str, address: str) -> None:
        super().__init__(address, f"{in_words(queue)} is on {broker} at {address}")


class TokenRefused(MqsError):
    """The token or credential is missing, bad, expired or revoked; the message says which."""

    def as_rpc(self) -> RpcError:
        return Unauthenticated(str(self))


class OtherQueue(MqsError):
    """The token is good, and of another queue."""

    def __init__(self) -> None:
        super().__init__("the token is not for this queue")

    def as_rpc(self) -> RpcError:
        return PermissionDenied(str(self))


def rpc_error_of(error: Exception) -> RpcError | None:
    """What an error means on the wire; None for one that is a fault of ours."""
    match error:
        case MqsError():
            return error.as_rpc()
        case DatabaseUnavailable():
            return Unavailable(error.condition, error.retry_after)
        case ConcurrencyConflict() | StatementTimeout():
            return Unavailable("the database is busy", _SOON)
        case TextRefused():
            return InvalidArgument([FieldViolation("", str(error))])
        case _:
            return None
