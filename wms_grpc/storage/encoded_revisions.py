"""A revision as the feed holds it: encoded once for all who watch, in parts of bounded size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ewms.wms.v1 import watch_pb2
from wms_grpc.domain.ids import WorkflowId
from wms_grpc.domain.model import Workflow
from wms_grpc.storage import messages

__all__ = [
    "CommittedPart",
    "WorkflowAttributes",
    "encode_revision",
    "feed_arguments",
    "filter_attributes",
]

# A part of a revision is at most about this large, so that every message stays far below 16 MiB.
PART_BYTES = 1 << 20

WorkflowAttributes = dict[str, object]


@dataclass(frozen=True, slots=True)
class CommittedPart:
    """One part of a revision as the feed holds it.

    `body` is an encoded `WorkflowRevision`. `after` holds what a filter may ask of the workflow;
    `before` the same before this revision, None if it is the workflow's first.
    """

    workflow_id: WorkflowId
    revision: int
    part: int
    is_last: bool
    time: datetime
    body: bytes
    before: WorkflowAttributes | None
    after: WorkflowAttributes


def feed_arguments(parts: Sequence[CommittedPart]) -> dict[str, object]:
    """Return the columns of the feed as arrays."""
    return {
        "f_workflow": [p.workflow_id for p in parts],
        "f_revision": [p.revision for p in parts],
        "f_part": [p.part for p in parts],
        "f_is_last": [p.is_last for p in parts],
        "f_time": [p.time for p in parts],
        "f_body": [p.body for p in parts],
        "f_before": [p.before for p in parts],
        "f_after": [p.after for p in parts],
    }


def encode_revision(
    workflow: Workflow,
    changes: Sequence[watch_pb2.Change],
    now: datetime,
    *,
    before: Workflow | None,
) -> list[CommittedPart]:
    """Encode a revision once for all who watch, in as many parts as it needs."""
    bodies: list[list[watch_pb2.Change]] = [[]]
    size = 0
    for change in changes:
        grown = size + change.ByteSize()
        if grown > PART_BYTES and bodies[-1]:
            bodies.append([])
            grown -= size
        bodies[-1].append(change)
        size = grown
    after = filter_attributes(workflow)
    earlier = filter_attributes(before) if before else None
    moment = messages.timestamp(now)
    return [
        CommittedPart(
            workflow_id=workflow.workflow_id,
            revision=workflow.revision,
            part=part,
            is_last=part == len(bodies) - 1,
            time=now,
            body=watch_pb2.WorkflowRevision(
                workflow_id=workflow.workflow_id,
                revision=workflow.revision,
                time=moment,
                changes=body,
                is_last=part == len(bodies) - 1,
            ).SerializeToString(),
            before=earlier,
            after=after,
        )
        for part, body in enumerate(bodies)
    ]


def filter_attributes(workflow: Workflow) -> WorkflowAttributes:
    """Return what a filter over workflows may ask for, and whether a watch of it may end."""
    return {
        "workflow_id": workflow.workflow_id,
        "owner": workflow.owner,
        "name": workflow.name,
        "labels": dict(workflow.labels),
        "state": str(workflow.state),
        "priority": workflow.priority,
        "create_time": workflow.create_time.isoformat(),
        "end_time": workflow.end_time.isoformat() if workflow.end_time else None,
        "is_settled": workflow.settled_time is not None,
    }
