"""What of a revision a watch with a filter is told.

A revision says of each workflow and taskforce what it was before and what it is after, as far as
filters may ask. What matches after is told; what matched before and does not any more has left;
the rest is not told at all. A message is encoded here without its resume token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from ewms.wms.v1 import (
    taskforce_pb2,
    taskforce_service_pb2,
    watch_pb2,
    workflow_service_pb2,
)
from wms_grpc.storage.feed_parts import PositionPart
from wms_grpc.storage.messages import PHASE

__all__ = ["Selection", "TaskforceSelection", "WorkflowSelection"]

Attributes = Mapping[str, object]
Predicate = Callable[[Attributes], bool]

_PHASE_NAME = {value: name for name, value in PHASE.items()}


class Selection(Protocol):
    """Chooses for one watch; is given the parts of the feed one after the other."""

    def of(self, part: PositionPart) -> bytes | None:
        """Return the encoded message for this part, None if there is nothing to tell."""


class WorkflowSelection:
    """For WatchWorkflows: whole revisions of workflows that match after them."""

    def __init__(self, is_wanted: Predicate) -> None:
        self._is_wanted = is_wanted

    def of(self, part: PositionPart) -> bytes | None:
        """Return the encoded `WatchWorkflowsResponse`, None if there is nothing to tell."""
        if self._is_wanted(part.after):
            return part.message
        if not part.is_last or part.before is None or not self._is_wanted(part.before):
            return None
        left = watch_pb2.WorkflowLeft(workflow_id=part.workflow_id, revision=part.revision)
        return workflow_service_pb2.WatchWorkflowsResponse(left=left).SerializeToString()


class TaskforceSelection:
    """For WatchTaskforces: of each revision the taskforces that match after it.

    Of what a filter may ask, only phase and priority of a taskforce ever change. The phase before
    stands in the change; priorities change only with the workflow's, by the same difference.
    """

    def __init__(self, is_wanted: Predicate) -> None:
        self._is_wanted = is_wanted
        self._has_begun = False

    def of(self, part: PositionPart) -> bytes | None:
        """Return the encoded `WatchTaskforcesResponse`, None if there is nothing to tell.

        Once a part of a revision was told, its last part is, too.
        """
        revision = part.decoded
        # A taskforce may change twice in one revision: the first change tells what it was.
        before: dict[str, bool] = {}
        after: dict[str, bool] = {}
        matching: list[tuple[str, watch_pb2.Change]] = []
        for change, uuid, now, earlier in _taskforces(part):
            before.setdefault(uuid, earlier is not None and self._is_wanted(earlier))
            after[uuid] = self._is_wanted(now)
            if after[uuid]:
                matching.append((uuid, change))
        told = watch_pb2.TaskforcesRevision(
            workflow_id=revision.workflow_id,
            revision=revision.revision,
            time=revision.time,
            changes=[change for uuid, change in matching if after[uuid]],
            left_taskforce_uuids=[u for u in before if before[u] and not after[u]],
            is_last=part.is_last,
        )
        is_told = bool(told.changes or told.left_taskforce_uuids)
        is_told = is_told or (self._has_begun and part.is_last)
        self._has_begun = (is_told or self._has_begun) and not part.is_last
        if not is_told:
            return None
        response = taskforce_service_pb2.WatchTaskforcesResponse(revision=told)
        return response.SerializeToString()


def _taskforces(
    part: PositionPart,
) -> Iterator[tuple[watch_pb2.Change, str, Attributes, Attributes | None]]:
    """Yield the changes to taskforces, what each is after it, and what it was before."""
    raised_by = _priority(part.after) - _priority(part.before or part.after)
    for change in part.decoded.changes:
        match change.WhichOneof("resource"):
            case "taskforce":
                taskforce = change.taskforce
                now = _attributes(part, taskforce)
                earlier = None
                if change.previous_phase:
                    earlier = now | {
                        "phase": _PHASE_NAME[change.previous_phase],
                        "priority": taskforce.priority - raised_by,
                    }
                yield change, taskforce.taskforce_uuid, now, earlier
            case "taskforce_status":
                now = _attributes(part, change.taskforce_status)
                yield change, change.taskforce_status.taskforce_uuid, now, now


def _attributes(
    part: PositionPart, taskforce: taskforce_pb2.Taskforce | taskforce_pb2.TaskforceStatus
) -> dict[str, object]:
    return {
        "taskforce_uuid": taskforce.taskforce_uuid,
        "task_id": taskforce.task_id,
        "workflow_id": part.workflow_id,
        "phase": _PHASE_NAME[taskforce.phase],
        "priority": taskforce.priority,
        "cluster_location": taskforce.cluster_location,
        "schedd": taskforce.schedd,
    }


def _priority(attributes: Attributes) -> int:
    priority = attributes["priority"]
    assert isinstance(priority, int)
    return priority
