"""From the tasks of a submission to the transitions and edges that the engine fires. Pure.

A net of dependencies has no token rows: the place between two transitions is marked when the first
is done and the second has not fired, so a count of missing inputs at each transition is its whole
marking.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from wms_grpc.domain.errors import Violation
from wms_grpc.domain.submission import TaskSpec
from wms_grpc.domain.tasks import BatchWork, NoopWork, WaitWork, Work

__all__ = ["JOIN", "Kind", "NetPlan", "PlannedTransition", "kind_of", "net_violations", "plan_net"]

Kind = Literal["container", "batch", "wait", "noop", "join"]
JOIN: Final = "join"

_MAX_EDGES: Final = 1_000_000
_MOST_NAMED: Final = 10


@dataclass(frozen=True, slots=True)
class PlannedTransition:
    """A transition; those of tasks have the task's number, silent ones come after them.

    `serves` is the number of the task whose recovery it is: nothing else starts it.
    """

    number: int
    kind: Kind
    n_in: int
    serves: int | None = None

    @property
    def is_first(self) -> bool:
        """Whether it can start as soon as the workflow does."""
        return self.n_in == 0


@dataclass(frozen=True, slots=True)
class NetPlan:
    """A net, ready to be stored; an edge leads from transition to transition."""

    transitions: tuple[PlannedTransition, ...]
    edges: tuple[tuple[int, int], ...]


def kind_of(work: Work | None) -> Kind:
    """Return the kind's name as it is stored. Raises LookupError for one that is not run here."""
    match work:
        case None:
            return "container"
        case BatchWork():
            return "batch"
        case WaitWork():
            return "wait"
        case NoopWork():
            return "noop"
    raise LookupError(type(work).__name__)


def plan_net(tasks: Sequence[TaskSpec], names: Sequence[str]) -> NetPlan:
    """Return the net of tasks that keep the rules of `net_violations`.

    Several tasks that wait for the same several others do so through one silent join.
    """
    numbers = {name: number for number, name in enumerate(names)}
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, task in enumerate(tasks):
        groups[tuple(sorted(task.depends_on))].append(number)
    edges: list[tuple[int, int]] = []
    n_in: Counter[int] = Counter()
    joins: list[PlannedTransition] = []
    for parents, children in groups.items():
        sources = [numbers[parent] for parent in parents]
        if len(sources) > 1 and len(children) > 1:
            join = PlannedTransition(len(tasks) + len(joins), JOIN, len(sources))
            joins.append(join)
            edges += [(source, join.number) for source in sources]
            sources = [join.number]
        edges += [(source, child) for source in sources for child in children]
        n_in.update(dict.fromkeys(children, len(sources)))
    served = {numbers[name]: number for number, name in _served(tasks)}
    transitions = [
        PlannedTransition(
            number, kind_of(task.work), 1 if number in served else n_in[number], served.get(number)
        )
        for number, task in enumerate(tasks)
    ]
    return NetPlan((*transitions, *joins), tuple(edges))


def net_violations(tasks: Sequence[TaskSpec], names: Sequence[str]) -> Iterator[Violation]:
    """Yield what is wrong with the order of the tasks and with their recoveries."""
    numbers = {name: number for number, name in enumerate(names)}
    is_whole = True
    for index, task in enumerate(tasks):
        for position, name in enumerate(task.depends_on):
            if name not in numbers:
                is_whole = False
                yield Violation(f"tasks[{index}].depends_on[{position}]", f"no task is {name!r}")
            elif name == names[index]:
                is_whole = False
                yield Violation(f"tasks[{index}].depends_on[{position}]", "waits for itself")
    yield from _recovery_violations(tasks, names, numbers)
    if sum(len(task.depends_on) for task in tasks) > _MAX_EDGES:
        yield Violation("tasks", f"have more than {_MAX_EDGES} dependencies")
    elif is_whole and (circle := _on_circles(tasks, names, numbers)):
        told = ", ".join(circle[:_MOST_NAMED]) + (", …" if len(circle) > _MOST_NAMED else "")
        yield Violation("tasks", f"wait for one another in a circle, or for such: {told}")


def _recovery_violations(
    tasks: Sequence[TaskSpec], names: Sequence[str], numbers: dict[str, int]
) -> Iterator[Violation]:
    n_served = Counter(name for _, name in _served(tasks))
    waited_for = {name for task in tasks for name in task.depends_on}
    for index, name in _served(tasks):
        recovery = tasks[index].recovery
        field = "fallback_task" if recovery and recovery.then == "fallback" else "compensate_with"
        path = f"tasks[{index}].recovery.{field}"
        if name not in numbers:
            yield Violation(path, f"no task is {name!r}")
        elif name == names[index]:
            yield Violation(path, "is the task itself")
        elif tasks[numbers[name]].depends_on:
            yield Violation(path, f"{name!r} waits for other tasks: only the failure may start it")
        elif name in waited_for:
            yield Violation(path, f"{name!r} is waited for by other tasks")
        elif n_served[name] > 1:
            yield Violation(path, f"{name!r} serves another task, too")


def _served(tasks: Sequence[TaskSpec]) -> list[tuple[int, str]]:
    return [
        (number, task.recovery.task)
        for number, task in enumerate(tasks)
        if task.recovery and task.recovery.then in ("fallback", "compensate")
    ]


def _on_circles(
    tasks: Sequence[TaskSpec], names: Sequence[str], numbers: dict[str, int]
) -> list[str]:
    """Return the tasks that can never start because they are on, or behind, a circle."""
    missing = [len(task.depends_on) for task in tasks]
    children: dict[int, list[int]] = defaultdict(list)
    for number, task in enumerate(tasks):
        for name in task.depends_on:
            children[numbers[name]].append(number)
    free = [number for number, count in enumerate(missing) if not count]
    n_free = len(free)
    while free:
        for child in children[free.pop()]:
            missing[child] -= 1
            if not missing[child]:
                free.append(child)
                n_free += 1
    return [names[number] for number, count in enumerate(missing) if count]
