"""The client of the EWMS: submit workflows, feed and read their queues, watch them to their end.

from ewms_client import Client

with Client("127.0.0.1:50051") as client:
    workflow_id = client.submit("workflow.json").workflow.workflow_id
    client.publish(workflow_id, "input-queue", [b"one", b"two"])
"""

from ewms_client.async_client import DEFAULT_WMS, AsyncClient
from ewms_client.client import BlockingConsumer, BlockingDelivery, Client
from ewms_client.consumer import Consumer
from ewms_client.delivery import Delivery
from ewms_client.errors import (
    AlreadyExists,
    ClientError,
    DeadlineExceeded,
    DeliveryLost,
    FailedPrecondition,
    FieldViolation,
    Internal,
    InvalidArgument,
    NotFound,
    OutOfRange,
    PermissionDenied,
    PreconditionViolation,
    QueueGone,
    ResourceExhausted,
    RevisionGap,
    RpcError,
    Unauthenticated,
    Unavailable,
    Unclassified,
    UnsupportedBroker,
    WaitTimeout,
    WorkflowEnded,
)
from ewms_client.events import Event
from ewms_client.feeds import TaskforcesEvent, WorkflowsEvent
from ewms_client.view import TERMINAL_STATES, WorkflowView, phase_name, state_name
from ewms_client.watching import Restarted, WatchEvent

__all__ = [
    "DEFAULT_WMS",
    "TERMINAL_STATES",
    "AlreadyExists",
    "AsyncClient",
    "BlockingConsumer",
    "BlockingDelivery",
    "Client",
    "ClientError",
    "Consumer",
    "DeadlineExceeded",
    "Delivery",
    "DeliveryLost",
    "Event",
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
    "Restarted",
    "RevisionGap",
    "RpcError",
    "TaskforcesEvent",
    "Unauthenticated",
    "Unavailable",
    "Unclassified",
    "UnsupportedBroker",
    "WaitTimeout",
    "WatchEvent",
    "WorkflowEnded",
    "WorkflowView",
    "WorkflowsEvent",
    "phase_name",
    "state_name",
]
