"""From UpdateWorkflow's field mask to what is to change."""

from __future__ import annotations

from ewms.wms.v1 import workflow_service_pb2 as pb
from ewms_rpc.rules import validator_for
from wms_grpc.domain.errors import InvalidSubmission, Violation
from wms_grpc.storage.steering import Update

__all__ = ["update_from"]

_PATHS = frozenset({"priority", "name", "labels"})

# What may be submitted may be updated to, and nothing else.
_rules_of_submission = validator_for(pb.SubmitWorkflowRequest)


def update_from(request: pb.UpdateWorkflowRequest) -> Update:
    """Return the masked fields; raises InvalidSubmission."""
    paths = set(request.update_mask.paths)
    violations = [
        Violation("update_mask", f"{path!r} cannot be changed; {', '.join(sorted(_PATHS))} can")
        for path in sorted(paths - _PATHS)
    ]
    workflow = request.workflow
    if not paths:
        violations.append(Violation("update_mask", "must name at least one field"))
    if not workflow.workflow_id:
        violations.append(Violation("workflow.workflow_id", "must be set"))
    if "priority" in paths and not (
        workflow.HasField("priority") and 0 <= workflow.priority <= 100
    ):
        violations.append(Violation("workflow.priority", "must be 0 to 100"))
    asked_anew = pb.SubmitWorkflowRequest(name=workflow.name, labels=workflow.labels)
    violations += [
        Violation(f"workflow.{broken.path}", broken.description)
        for broken in _rules_of_submission(asked_anew)
        if broken.path.partition("[")[0] in paths & {"name", "labels"}
    ]
    if violations:
        raise InvalidSubmission(violations)
    return Update(
        priority=workflow.priority if "priority" in paths else None,
        name=workflow.name if "name" in paths else None,
        labels=dict(workflow.labels) if "labels" in paths else None,
    )
