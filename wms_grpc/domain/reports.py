"""What an agent's report makes of a taskforce, as pure functions.

Each returns the taskforce as it is to be, or None where the report is stale: it speaks of another
cluster, or of an attempt that is no longer the taskforce's own, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from wms_grpc.domain.model import Cause, Outcome, Phase, Taskforce
from wms_grpc.domain.phases import (
    NEVER_SUBMITTED,
    advance,
    refuse_submission,
    retry_after_failure,
)

__all__ = [
    "SubmitReport",
    "completed",
    "is_stray",
    "removal_failed",
    "removed",
    "submission_failed",
    "submitted",
]


@dataclass(frozen=True, slots=True)
class SubmitReport:
    """A submission that worked."""

    cluster_id: int
    submit_dict: Mapping[str, str]
    job_event_log_fpath: str


def is_stray(taskforce: Taskforce, cluster_id: int) -> bool:
    """Whether a reported cluster is not the taskforce's, and can't become it: it is to stop.

    The first cluster that is accepted wins. One of a taskforce that no agent was told of would be
    launched beside it later.
    """
    if taskforce.cluster_id is not None:
        return taskforce.cluster_id != cluster_id
    return taskforce.phase.has_ended or taskforce.attempt == 0


def submitted(
    taskforce: Taskforce, report: SubmitReport, cause: Cause, now: datetime
) -> Taskforce | None:
    """Record a cluster. A taskforce that is no longer wanted is offered for stopping again."""
    if is_stray(taskforce, report.cluster_id):
        return None
    if taskforce.cluster_id == report.cluster_id:
        return taskforce
    recorded = replace(
        taskforce,
        cluster_id=report.cluster_id,
        submit_dict=report.submit_dict,
        job_event_log_fpath=report.job_event_log_fpath,
    )
    entered = advance(recorded, Phase.CONDOR_SUBMIT, cause, now)
    if entered.phase is Phase.PENDING_STOPPER:
        return replace(entered, assignment_due=now, assigned_session=None, assigned_time=None)
    return entered


def submission_failed(
    taskforce: Taskforce, attempt: int, cause: Cause, now: datetime, *, is_refusal: bool
) -> Taskforce | None:
    """Record a failed submission: tried again later, or FAILED at the third refusal."""
    if taskforce.phase is not Phase.PENDING_STARTER or attempt != taskforce.attempt:
        return None
    if is_refusal:
        return refuse_submission(taskforce, cause, now)
    return retry_after_failure(taskforce, Phase.CONDOR_SUBMIT, cause, now)


def removed(
    taskforce: Taskforce, attempt: int, cluster_id: int | None, cause: Cause, now: datetime
) -> Taskforce | None:
    """Record a removal. Without a cluster: nothing of the taskforce runs, nor will."""
    if cluster_id is not None:
        if taskforce.cluster_id != cluster_id:
            return None
        if taskforce.phase in (Phase.CONDOR_RM, Phase.CONDOR_COMPLETE):
            return taskforce
        return advance(taskforce, Phase.CONDOR_RM, cause, now)
    is_answer = taskforce.phase is Phase.PENDING_STOPPER and attempt == taskforce.attempt
    if not is_answer or taskforce.cluster_id is not None:
        return None
    return advance(taskforce, Phase.CONDOR_COMPLETE, replace(cause, context=NEVER_SUBMITTED), now)


def removal_failed(
    taskforce: Taskforce, attempt: int, cause: Cause, now: datetime
) -> Taskforce | None:
    """Record a failed removal: tried again later, without limit."""
    if taskforce.phase is not Phase.PENDING_STOPPER or attempt != taskforce.attempt:
        return None
    return retry_after_failure(taskforce, Phase.CONDOR_RM, cause, now)


def completed(
    taskforce: Taskforce,
    cluster_id: int,
    outcomes: tuple[Outcome, ...],
    complete_time: datetime,
    cause: Cause,
    now: datetime,
) -> Taskforce | None:
    """Record that a cluster has left the queue."""
    if is_stray(taskforce, cluster_id):
        return None
    if taskforce.phase is Phase.CONDOR_COMPLETE:
        return taskforce
    return advance(
        replace(
            taskforce,
            cluster_id=cluster_id,
            outcomes=outcomes,
            condor_complete_time=complete_time,
        ),
        Phase.CONDOR_COMPLETE,
        cause,
        now,
    )
