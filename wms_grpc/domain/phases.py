"""The phase machine of a taskforce, as pure functions.

`advance` decides whether a change of phase is allowed, logs the attempt either way, and sets what
follows from the new phase (what its agent is to be told, what it waits for, how many of its workers
are idle). Everything else about a taskforce is changed by the functions below it. Only
`storage.taskforces.save` writes what they return.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from wms_grpc.domain.model import Assignment, Cause, CompoundStatuses, Phase, PhaseChange, Taskforce

__all__ = [
    "MAX_REFUSALS",
    "NEVER_SUBMITTED",
    "advance",
    "count_busy",
    "count_idle",
    "is_allowed",
    "refuse_submission",
    "retry_after_failure",
    "stop",
]

MAX_REFUSALS: Final = 3
NEVER_SUBMITTED: Final = "never submitted"
_LOG_LENGTH: Final = 200
_LONGEST_CAUSE: Final = 300
_FIRST_RETRY: Final = timedelta(seconds=1)
_LONGEST_RETRY: Final = timedelta(minutes=2)

_BEFORE_STOP = frozenset(
    {Phase.PRE_MQ_ACTIVATION, Phase.PRE_LAUNCH, Phase.PENDING_STARTER, Phase.CONDOR_SUBMIT}
)

# Target phase -> the phases that it may be entered from (EWMS v1's table, with FAILED).
_ALLOWED_FROM: Final[dict[Phase, frozenset[Phase]]] = {
    Phase.PRE_MQ_ACTIVATION: frozenset(),
    Phase.PRE_LAUNCH: frozenset({Phase.PRE_MQ_ACTIVATION}),
    Phase.PENDING_STARTER: frozenset({Phase.PRE_LAUNCH}),
    Phase.CONDOR_SUBMIT: frozenset({Phase.PENDING_STARTER}),
    Phase.PENDING_STOPPER: _BEFORE_STOP,
    Phase.CONDOR_RM: _BEFORE_STOP | {Phase.PENDING_STOPPER},
    Phase.CONDOR_COMPLETE: _BEFORE_STOP | {Phase.PENDING_STOPPER, Phase.CONDOR_RM},
    Phase.FAILED: frozenset({Phase.PENDING_STARTER}),
}

# HTCondor's job statuses of workers that do not wait for a slot.
_NOT_IDLE = ("RUNNING", "HELD", "COMPLETED", "REMOVED", "SUSPENDED")


def is_allowed(current: Phase, target: Phase) -> bool:
    """Whether the machine has a step from `current` to `target`."""
    return current in _ALLOWED_FROM[target]


def advance(taskforce: Taskforce, target: Phase, cause: Cause, now: datetime) -> Taskforce:
    """Return the taskforce in `target`, or where it was with the refused attempt in its log."""
    if not is_allowed(taskforce.phase, target):
        refusal = f"not from {taskforce.phase}"
        context = f"{cause.context} ({refusal})" if cause.context else refusal
        return _logged(taskforce, PhaseChange(target, now, False, replace(cause, context=context)))
    return replace(
        taskforce,
        phase=target,
        phase_log=_extended(taskforce.phase_log, PhaseChange(target, now, True, cause)),
        **_consequences(taskforce, target, now),
    )


def stop(taskforce: Taskforce, cause: Cause, now: datetime) -> Taskforce:
    """Return the taskforce on its way to its end.

    One that no agent was ever told of ends here. Any other is offered to its agent, even without
    a cluster: a submission may be under way that nobody has reported yet.
    """
    stopping = advance(taskforce, Phase.PENDING_STOPPER, cause, now)
    if stopping.phase is Phase.PENDING_STOPPER and stopping.attempt == 0:
        return advance(stopping, Phase.CONDOR_COMPLETE, Cause(cause.source, NEVER_SUBMITTED), now)
    return stopping


def refuse_submission(taskforce: Taskforce, cause: Cause, now: datetime) -> Taskforce:
    """Return the taskforce after its schedd refused it: FAILED at the third time."""
    refused = replace(taskforce, n_refusals=taskforce.n_refusals + 1)
    if refused.n_refusals >= MAX_REFUSALS:
        return advance(refused, Phase.FAILED, cause, now)
    return retry_after_failure(refused, Phase.CONDOR_SUBMIT, cause, now)


def retry_after_failure(
    taskforce: Taskforce, target: Phase, cause: Cause, now: datetime
) -> Taskforce:
    """Return the taskforce, to be offered to its agent again after a backoff.

    `target` is the phase that the failed attempt would have led to; the log shows it.
    """
    wait = min(_FIRST_RETRY * 2 ** min(taskforce.n_failures, 10), _LONGEST_RETRY)
    return replace(
        _logged(taskforce, PhaseChange(target, now, False, cause)),
        waiting_reason=_after_failure(taskforce, cause),
        n_failures=taskforce.n_failures + 1,
        assignment_due=now + wait,
        assigned_session=None,
        assigned_time=None,
    )


def _after_failure(taskforce: Taskforce, cause: Cause) -> str:
    """What one that has not started waits for, with the cause that its user may know of."""
    if taskforce.phase is not Phase.PENDING_STARTER or not cause.context:
        return taskforce.waiting_reason
    return f"another attempt; the last one failed: {cause.context[:_LONGEST_CAUSE]}"


def count_idle(n_workers: int, statuses: CompoundStatuses) -> int:
    """Return how many workers wait: what was asked for, less running, held and ended."""
    return max(0, n_workers - count_busy(statuses))


def count_busy(statuses: CompoundStatuses) -> int:
    """Return how many workers neither wait for a slot nor will again by themselves."""
    return sum(
        sum(pilots.values()) for status, pilots in statuses.items() if status.startswith(_NOT_IDLE)
    )


def _logged(taskforce: Taskforce, change: PhaseChange) -> Taskforce:
    return replace(taskforce, phase_log=_extended(taskforce.phase_log, change))


def _extended(log: tuple[PhaseChange, ...], change: PhaseChange) -> tuple[PhaseChange, ...]:
    return (*log, change)[-_LOG_LENGTH:]


def _consequences(taskforce: Taskforce, phase: Phase, now: datetime) -> dict[str, Any]:
    """The fields that follow from entering a phase.

    Not a taskforce, since a copy of one for each step counts where thousands are stopped at once.
    """
    waiting = ""
    assignment: Assignment | None = None
    n_idle = 0
    match phase:
        case Phase.PRE_MQ_ACTIVATION:
            waiting = "the workflow's queues"
        case Phase.PRE_LAUNCH:
            waiting = f"its turn at {taskforce.cluster_location}"
        case Phase.PENDING_STARTER:
            waiting = f"the agent of schedd {taskforce.schedd}"
            assignment = "start"
            n_idle = taskforce.n_workers
        case Phase.CONDOR_SUBMIT:
            n_idle = count_idle(taskforce.n_workers, taskforce.compound_statuses)
        case Phase.PENDING_STOPPER:
            assignment = "stop"
        case _:
            pass
    return {
        "waiting_reason": waiting,
        "assignment": assignment,
        "assignment_due": now if assignment else None,
        "assigned_session": None,
        "assigned_time": None,
        "n_failures": 0,
        "n_idle": n_idle,
    }
