"""The end of a workflow, as pure functions: who may end it, and when it has settled."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from wms_grpc.domain.errors import NotAllowedNow
from wms_grpc.domain.model import Workflow, WorkflowState

__all__ = ["after_phase_changes", "end", "require_alive"]


def require_alive(workflow: Workflow) -> None:
    """Raise NotAllowedNow if the workflow has ended."""
    if workflow.state.is_terminal:
        raise NotAllowedNow(
            "WORKFLOW_ENDED", workflow.workflow_id, f"the workflow is {workflow.state}"
        )


def end(workflow: Workflow, state: WorkflowState, reason: str, now: datetime) -> Workflow:
    """Return the workflow in a terminal state: it asks for nothing more."""
    ended = replace(
        workflow,
        state=state,
        state_reason=reason,
        pending_reason="",
        retry_time=None,
        activation_due=None,
        end_time=now,
        attention=(),
    )
    return after_phase_changes(ended, 0, now)


def after_phase_changes(workflow: Workflow, n_ended: int, now: datetime) -> Workflow:
    """Return the workflow after so many of its taskforces have ended.

    One that has ended itself settles with its last taskforce; its queues are due for release then.
    """
    counted = replace(workflow, n_unended=workflow.n_unended - n_ended)
    if counted.state.is_terminal and counted.n_unended == 0 and counted.settled_time is None:
        return replace(counted, settled_time=now, release_due=now)
    return counted
