"""What a workflow's user should look at, as pure functions.

Each sentence holds for as long as its cause does: the whole of them is made anew whenever one of
the causes may have come or gone, which `may_change` tells for a report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from wms_grpc.domain.ids import TaskforceId, TaskId
from wms_grpc.domain.model import CompoundStatuses, Phase, Taskforce, Workflow
from wms_grpc.domain.words import counted

__all__ = ["Crew", "DeadLetters", "Situation", "Task", "attention", "is_held", "may_change"]

MOST_SENTENCES: Final = 20
_LONGEST_ERROR: Final = 300

_HELD: Final = "HELD"
_ENDED: Final = ("COMPLETED", "REMOVED")


@dataclass(frozen=True, slots=True)
class Task:
    """A task that is not done."""

    task_id: TaskId
    name: str


@dataclass(frozen=True, slots=True)
class Crew:
    """A taskforce that has not ended.

    `removal_error` is the last error of its removal, None while none has failed. `held` are its
    compound statuses if all its workers are held, else None.
    """

    taskforce_uuid: TaskforceId
    task_id: TaskId
    removal_error: str | None = None
    held: CompoundStatuses | None = None


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """A queue that has dead letters."""

    alias: str
    number: int
    is_drained: bool = False


@dataclass(frozen=True, slots=True)
class Situation:
    """All that a workflow's attention is made of.

    `is_held_by_user`: its user has paused it with what runs.
    """

    has_ended: bool
    is_held_by_user: bool
    tasks: Sequence[Task] = ()
    crews: Sequence[Crew] = field(default=())
    dead_letters: Sequence[DeadLetters] = ()


def attention(situation: Situation) -> tuple[str, ...]:
    """Return the sentences, the most urgent first, and a bounded number of them."""
    sentences = [
        *_tasks(situation),
        *(_removal(crew) for crew in situation.crews if crew.removal_error is not None),
        *(_dead_letters(queue, situation.has_ended) for queue in situation.dead_letters),
    ]
    if len(sentences) > MOST_SENTENCES:
        n_more = len(sentences) - MOST_SENTENCES + 1
        sentences[MOST_SENTENCES - 1 :] = [f"and {n_more} more of such"]
    return tuple(sentences)


def may_change(workflow: Workflow, before: Taskforce, after: Taskforce) -> bool:
    """Whether what a report made of a taskforce may change its workflow's attention.

    It may not be removable, or, where there is something to look at already, be so no longer.
    What the end of a task's workers means is for who looks at all of them.
    """
    if after.phase is not before.phase:
        return bool(workflow.attention)
    return after.phase is Phase.PENDING_STOPPER and after.n_failures != before.n_failures


def is_held(statuses: CompoundStatuses) -> bool:
    """Whether all workers that have not ended are held, and there is one."""
    has_one = False
    for status, pilots in statuses.items():
        if status.startswith(_HELD):
            has_one = has_one or any(pilots.values())
        elif not status.startswith(_ENDED) and any(pilots.values()):
            return False
    return has_one


def _tasks(situation: Situation) -> Iterator[str]:
    if situation.has_ended:
        return
    crews: dict[TaskId, list[Crew]] = {}
    for crew in situation.crews:
        crews.setdefault(crew.task_id, []).append(crew)
    for task in situation.tasks:
        left = crews.get(task.task_id)
        if not left:
            yield (
                f"task {task.name} has no worker left and may have events; add workers, or finish"
            )
            continue
        held = [crew.held for crew in left if crew.held is not None]
        if len(held) == len(left) and not situation.is_held_by_user:
            reason = _most_common_reason(held)
            yield f"all workers of task {task.name} are held" + (f": {reason}" if reason else "")


def _most_common_reason(held: Iterable[CompoundStatuses]) -> str:
    counts: Counter[str] = Counter()
    for statuses in held:
        for status, pilots in statuses.items():
            reason = status.removeprefix(_HELD).lstrip(": ")
            if status.startswith(_HELD) and reason:
                counts[reason] += sum(pilots.values())
    if not counts:
        return ""
    return min(counts, key=lambda reason: (-counts[reason], reason))[:_LONGEST_ERROR]


def _removal(crew: Crew) -> str:
    error = (crew.removal_error or "no error given")[:_LONGEST_ERROR]
    return f"taskforce {crew.taskforce_uuid} cannot be removed, and it is tried again: {error}"


def _dead_letters(queue: DeadLetters, has_ended: bool) -> str:
    number = counted(queue.number, "dead letter")
    if has_ended or queue.is_drained:
        return f"queue {queue.alias} ended with {number}; list them"
    return f"queue {queue.alias} has {number}; list them, and put them back or leave them"
