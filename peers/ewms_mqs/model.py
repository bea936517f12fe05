"""What the MQS speaks of: queues, deliveries, settlements, counts.

Plain values without behaviour that needs a database or a socket. Nothing here knows how a broker
keeps them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NewType

from ewms.mqs.v1.event_service_pb2 import Event

__all__ = [
    "Counts",
    "DeadLetter",
    "DeliveredEvent",
    "DeliveryId",
    "Mqid",
    "Queue",
    "QueueNo",
    "QueueSpec",
    "QueueState",
    "Refusal",
    "Settled",
    "Settlement",
    "TaskforceId",
    "WorkflowId",
]

Mqid = NewType("Mqid", str)
WorkflowId = NewType("WorkflowId", str)
TaskforceId = NewType("TaskforceId", str)
DeliveryId = NewType("DeliveryId", str)
# Names a queue in the MQS's own tables; never goes over the wire.
QueueNo = NewType("QueueNo", int)


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """A queue that a workflow asks for."""

    mqid: Mqid
    alias: str
    is_public: bool


@dataclass(frozen=True, slots=True)
class Queue:
    """What never changes of a queue that was granted."""

    number: QueueNo
    mqid: Mqid
    workflow_id: WorkflowId
    alias: str
    is_public: bool


@dataclass(frozen=True, slots=True)
class QueueState:
    """A queue as it is now: each of the three only ever goes from false to true.

    `n_dead` follows the dead letters by a second or so.
    """

    queue: Queue
    is_closed: bool
    is_drained: bool
    is_released: bool
    n_dead: int = 0


@dataclass(frozen=True, slots=True)
class Counts:
    """A queue's counts: events that wait, that are delivered, and what became of the others."""

    published: int = 0
    depth: int = 0
    in_flight: int = 0
    done: int = 0
    dead: int = 0


@dataclass(frozen=True, slots=True)
class DeliveredEvent:
    """An event, leased to a consumer. `n_deliveries` is 1 on the first delivery."""

    delivery_id: DeliveryId
    event: Event
    n_deliveries: int
    publish_time: datetime
    size: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """A delivery that its consumer gives back, to be delivered again or never."""

    delivery_id: DeliveryId
    requeue: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a consumer says of its deliveries; `is_elsewhere`: not on the stream they came by."""

    acks: Sequence[DeliveryId] = ()
    refusals: Sequence[Refusal] = ()
    extensions: Sequence[DeliveryId] = ()
    is_elsewhere: bool = False

    def __len__(self) -> int:
        return len(self.acks) + len(self.refusals) + len(self.extensions)


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of the deliveries of a settlement, in no order."""

    settled: list[DeliveryId] = field(default_factory=list)
    lost: list[DeliveryId] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that was given up."""

    dead_letter_id: str
    event: Event
    n_deliveries: int
    dead_time: datetime
    reason: str
