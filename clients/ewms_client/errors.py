"""What a call or an iterator of the client can raise: one tree for what the server answers, one for
what is found out here. Each error says when it arises and what it carries; none holds a token.

    RpcError                    the server's answer (of ewms_rpc.errors, all of them here again)
    ├── InvalidArgument         every bad field by its path; also for a document that is not read
    ├── NotFound
    ├── AlreadyExists
    ├── FailedPrecondition
    ├── ResourceExhausted
    ├── Unavailable
    ├── Unauthenticated
    ├── PermissionDenied
    ├── OutOfRange
    ├── Internal
    └── Unclassified
        └── DeadlineExceeded    no answer in time

    ClientError                 found out here
    ├── RevisionGap             a watch broke its promise
    ├── WaitTimeout             what was waited for did not come in time (also a TimeoutError)
    ├── WorkflowEnded           what was waited for cannot come any more
    ├── QueueGone               the queue was released with its workflow
    ├── DeliveryLost            a delivery was settled too late
    └── UnsupportedBroker       the queue is on a broker that this client does not speak to
"""

from __future__ import annotations

import grpc

from ewms.wms.v1 import workflow_pb2
from ewms_rpc.errors import (
    AlreadyExists,
    FailedPrecondition,
    FieldViolation,
    Internal,
    InvalidArgument,
    NotFound,
    OutOfRange,
    PermissionDenied,
    PreconditionViolation,
    ResourceExhausted,
    RpcError,
    Unauthenticated,
    Unavailable,
    Unclassified,
    from_rpc_error,
)

__all__ = [
    "AlreadyExists",
    "ClientError",
    "DeadlineExceeded",
    "DeliveryLost",
    "FailedPrecondition",
    "FieldViolation",
    "Internal",
    "InvalidArgument",
    "NotFound",
    "OutOfRange",
    "PermissionDenied",
    "PreconditionViolation",
    "QueueGone",
    "ResourceExhausted",
    "RevisionGap",
    "RpcError",
    "Unauthenticated",
    "Unavailable",
    "Unclassified",
    "UnsupportedBroker",
    "WaitTimeout",
    "WorkflowEnded",
    "typed",
]

# What grpc.aio says, with INTERNAL, in place of the server's status, where a stream ends that is
# just being written to. No server of ours says it.
_CUT_WHILE_WRITING = "Internal error from Core"


class DeadlineExceeded(Unclassified):
    """No answer came before the call's deadline. Whether it took effect is not known."""

    def __init__(self, message: str) -> None:
        super().__init__(grpc.StatusCode.DEADLINE_EXCEEDED, message)


class ClientError(Exception):
    """Something that the client found out by itself."""


class RevisionGap(ClientError):
    """A watch sent a revision other than the next one: `expected` and `received` say which."""

    def __init__(self, expected: int, received: int) -> None:
        self.expected, self.received = expected, received
        super().__init__(f"expected revision {expected}, received {received}")


class WaitTimeout(ClientError, TimeoutError):
    """What was waited for did not come within the time given."""


class WorkflowEnded(ClientError):
    """The workflow is in a terminal state, so what was waited for cannot come: `workflow` is it."""

    def __init__(self, workflow: workflow_pb2.Workflow) -> None:
        self.workflow = workflow
        state = workflow_pb2.WorkflowState.Name(workflow.state).removeprefix("WORKFLOW_STATE_")
        reason = f": {workflow.state_reason}" if workflow.state_reason else ""
        super().__init__(f"workflow {workflow.workflow_id} is {state}{reason}")


class QueueGone(ClientError):
    """The queue is not there any more: it goes once its workflow, `workflow`, has settled.

    A public one goes when it is empty then, or after the retention.
    """

    def __init__(self, workflow: workflow_pb2.Workflow, alias: str) -> None:
        self.workflow, self.alias = workflow, alias
        state = workflow_pb2.WorkflowState.Name(workflow.state).removeprefix("WORKFLOW_STATE_")
        super().__init__(
            f"queue {alias} of workflow {workflow.workflow_id} is gone:"
            f" the workflow is {state} and has settled"
        )


class DeliveryLost(ClientError):
    """A delivery's lease had run out before it was settled: it is or was delivered again."""

    def __init__(self, delivery_id: str) -> None:
        self.delivery_id = delivery_id
        super().__init__(f"the lease of delivery {delivery_id} had run out")


class UnsupportedBroker(ClientError):
    """The queue is on a broker of another type: `broker_type` and `broker_address` say which."""

    def __init__(self, broker_type: str, broker_address: str) -> None:
        self.broker_type, self.broker_address = broker_type, broker_address
        super().__init__(f"no support for the broker {broker_type!r} at {broker_address!r}")


def typed(error: grpc.RpcError) -> RpcError:
    """The error of the tree above behind a failed call."""
    answer = from_rpc_error(error)
    if answer.code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded(answer.message)
    if answer.code is grpc.StatusCode.CANCELLED:
        # Not by us, who would see asyncio.CancelledError: a server or proxy that goes away.
        return Unavailable(f"cancelled from outside: {answer.message}")
    if isinstance(error, grpc.aio.AioRpcError) and error.details() == _CUT_WHILE_WRITING:
        return Unavailable("the server ended the stream while it was written to")
    return answer
