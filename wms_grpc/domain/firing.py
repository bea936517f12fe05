"""What the end of a try means for its task, as pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from wms_grpc.domain.model import Outcome, Phase, TaskDirective, Taskforce
from wms_grpc.domain.tasks import BatchWork, Recovery, SuccessRule
from wms_grpc.domain.words import counted

__all__ = ["SUCCESS", "Verdict", "next_try_at", "verdict_of_batch", "verdict_of_containers"]

_LONGEST_BACKOFF: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a try ended. `causes` are what `Recovery.retry_on` names, `reason` says it in words."""

    is_success: bool
    causes: frozenset[str] = frozenset()
    reason: str = ""


SUCCESS: Final = Verdict(is_success=True)


def verdict_of_batch(directive: TaskDirective, taskforce: Taskforce) -> Verdict:
    """Judge a batch task's cluster, which has ended, by the task's rule."""
    if taskforce.phase is Phase.FAILED:
        return _not_started(taskforce)
    rule = directive.work.success if isinstance(directive.work, BatchWork) else SuccessRule()
    n_good = sum(o.count for o in taskforce.outcomes if o.kind == "exit_code" and o.value == 0)
    if n_good >= _needed(rule, taskforce.n_workers):
        return SUCCESS
    bad = [o for o in taskforce.outcomes if (o.kind, o.value) != ("exit_code", 0)]
    told = ", ".join(_words(outcome) for outcome in bad) or "no proc said how it ended"
    return Verdict(False, frozenset(_cause(outcome) for outcome in bad), told)


def verdict_of_containers(
    directive: TaskDirective, taskforces: Sequence[Taskforce]
) -> Verdict | None:
    """Judge a container task: done, or not to be started anywhere, or None while it runs."""
    if directive.is_done:
        return SUCCESS
    if taskforces and all(taskforce.phase is Phase.FAILED for taskforce in taskforces):
        return _not_started(taskforces[-1])
    return None


def next_try_at(
    recovery: Recovery | None, n_tries: int, verdict: Verdict, now: datetime
) -> datetime | None:
    """Return when a task that has failed is tried again; None if it is not."""
    if recovery is None or n_tries >= recovery.max_tries:
        return None
    if verdict.causes & {f"exit:{code}" for code in recovery.never_on}:
        return None
    if recovery.retry_on and not verdict.causes & set(recovery.retry_on):
        return None
    wait = min(recovery.backoff * 2 ** (n_tries - 1), _LONGEST_BACKOFF)
    return now + timedelta(seconds=wait)


def _needed(rule: SuccessRule, n_procs: int) -> float:
    if rule.at_least is not None:
        return min(rule.at_least, n_procs)
    return n_procs * (1.0 if rule.share is None else rule.share)


def _not_started(taskforce: Taskforce) -> Verdict:
    why = taskforce.phase_log[-1].cause.context if taskforce.phase_log else ""
    return Verdict(False, frozenset({"start"}), f"it could not be started: {why}")


def _cause(outcome: Outcome) -> str:
    if outcome.kind == "removed":
        return "removed"
    return f"{outcome.kind.removesuffix('_code')}:{outcome.value}"


def _words(outcome: Outcome) -> str:
    procs = counted(outcome.count, "proc")
    if outcome.kind == "removed":
        return f"{procs} removed"
    words = {"exit_code": "ended with exit code", "signal": "ended by signal", "hold_code": "held"}
    return f"{procs} {words[outcome.kind]} {outcome.value}"
