"""Errors that are told from names alone: unknown, duplicate, and recoveries that cannot work."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from wms_grpc.domain.findings import Finding
from wms_grpc.domain.nets import Dependency, Net
from wms_grpc.domain.tasks import Task
from wms_grpc.domain.words import first_few

__all__ = ["error", "errors_of_dependencies", "errors_of_net", "errors_of_tasks"]


def error(code: str, subject: str, message: str) -> Finding:
    """Return a finding that forbids a submission."""
    return Finding(code, message, subject=subject, severity="error")


def errors_of_tasks(tasks: Sequence[Task]) -> Iterator[Finding]:
    """Yield what is wrong with the tasks' names and recoveries."""
    for name, number in Counter(task.name for task in tasks).items():
        if number > 1:
            yield error("DUPLICATE_NAME", name, f"{number} tasks have the name {name}")
    by_name = {task.name: task for task in tasks}
    serves: dict[str, list[str]] = defaultdict(list)
    for task in tasks:
        recovery = task.recovery
        if recovery.then in ("fallback", "compensate"):
            yield from _errors_of_recovery(task, by_name.get(recovery.task))
            if recovery.task in by_name:
                serves[recovery.task].append(task.name)
        elif recovery.task:
            yield Finding(
                "RECOVERY_TASK_UNUSED",
                f"the recovery of {task.name} is `{recovery.then}`, so {recovery.task} is not run",
                subject=task.name,
            )
    for name, served in serves.items():
        if len(served) > 1:
            names = first_few(served, 5)
            yield error(
                "RECOVERY_TASK_SHARED", name, f"{name} is the recovery of {names}; it serves one"
            )
    yield from _rings_of_recoveries(by_name)


def _rings_of_recoveries(by_name: Mapping[str, Task]) -> Iterator[Finding]:
    """Yield the rings of tasks that are each the recovery of the one before: none ever starts."""
    recovery_of = {
        name: task.recovery.task
        for name, task in by_name.items()
        if task.recovery.then in ("fallback", "compensate")
    }
    seen: set[str] = set()
    for first in recovery_of:
        way: dict[str, None] = {}
        name = first
        while name in recovery_of and name not in seen:
            seen.add(name)
            way[name] = None
            name = recovery_of[name]
        if name in way:
            ring = [*way][[*way].index(name) :]
            shown = first_few(ring, 5)
            yield error(
                "RECOVERY_OF_ITSELF",
                name,
                f"one recovers the other, and the last the first: {shown}",
            )


def _errors_of_recovery(task: Task, other: Task | None) -> Iterator[Finding]:
    recovery = task.recovery
    if not recovery.task:
        yield error(
            "RECOVERY_WITHOUT_TASK",
            task.name,
            f"the recovery of {task.name} is `{recovery.then}`, and names no task",
        )
    elif other is None:
        yield error(
            "UNKNOWN_NAME",
            task.name,
            f"the recovery of {task.name} names {recovery.task}, which is no task",
        )
    elif other.role != "node":
        yield error(
            "NOT_IN_THE_NET",
            task.name,
            f"the recovery of {task.name} names {other.name}, whose role is {other.role}",
        )


def errors_of_dependencies(
    tasks: Sequence[Task], dependencies: Iterable[Dependency]
) -> Iterator[Finding]:
    """Yield what is wrong with who waits for whom, but for cycles."""
    by_name = {task.name: task for task in tasks}
    recovers = _recovers(tasks)
    told: set[tuple[str, str]] = set()
    for dependency in dependencies:
        sides = (("child", dependency.children, dependency.parents),)
        for side, names, others in (*sides, ("parent", dependency.parents, dependency.children)):
            for name in names:
                if name in by_name and name not in recovers and by_name[name].role == "node":
                    continue
                if (side, name) not in told:
                    told.add((side, name))
                    yield _bad_end(side, name, others, by_name.get(name), recovers.get(name))


def _recovers(tasks: Iterable[Task]) -> dict[str, str]:
    return {
        task.recovery.task: task.name
        for task in tasks
        if task.recovery.then in ("fallback", "compensate") and task.recovery.task
    }


def _bad_end(
    side: str, name: str, others: Sequence[str], task: Task | None, served: str | None
) -> Finding:
    shown = first_few(others, 3)
    waits = f"{name} waits for {shown}" if side == "child" else f"{shown} waits for {name}"
    if task is None:
        subject = others[0] if side == "parent" and others else name
        return error("UNKNOWN_NAME", subject, f"{waits}, and there is no task {name}")
    if task.role != "node":
        return error("NOT_IN_THE_NET", name, f"{waits}, and the role of {name} is {task.role}")
    if side == "child":
        return error(
            "RECOVERY_TASK_DEPENDS",
            name,
            f"{waits}, and is the recovery of {served}, which alone starts it",
        )
    return error(
        "RECOVERY_TASK_AWAITED",
        name,
        f"{waits}, which is the recovery of {served} and may never run; wait for {served}",
    )


def errors_of_net(tasks: Sequence[Task], net: Net) -> Iterator[Finding]:
    """Yield what is wrong with the names in a net that was given as one."""
    places = Counter(place.id for place in net.places)
    transitions = Counter(transition.id for transition in net.transitions)
    for what, ids in (("places", places), ("transitions", transitions)):
        for name, number in ids.items():
            if number > 1:
                yield error("DUPLICATE_NAME", name, f"{number} {what} have the id {name}")
    known = {task.name for task in tasks}
    recovers = _recovers(tasks)
    for transition in net.transitions:
        if transition.task is not None and transition.task not in known:
            yield error(
                "UNKNOWN_NAME",
                transition.id,
                f"transition {transition.id} names {transition.task}, which is no task",
            )
        elif transition.task in recovers:
            yield error(
                "RECOVERY_TASK_DEPENDS",
                transition.task,
                f"transition {transition.id} names {transition.task}, which is the recovery of "
                f"{recovers[transition.task]}, which alone starts it",
            )
    yield from _errors_of_arcs(net, places.keys(), transitions.keys())


def _errors_of_arcs(
    net: Net, places: Collection[str], transitions: Collection[str]
) -> Iterator[Finding]:
    for arc in net.arcs:
        if arc.place not in places:
            yield error(
                "ARC_WITHOUT_PLACE",
                arc.transition,
                f"an arc ({arc.mode}) of transition {arc.transition} names {arc.place}, "
                "which is no place",
            )
        if arc.transition not in transitions:
            yield error(
                "ARC_WITHOUT_TRANSITION",
                arc.place,
                f"an arc ({arc.mode}) of place {arc.place} names {arc.transition}, "
                "which is no transition",
            )
        if arc.weight < 1:
            yield error(
                "BAD_WEIGHT",
                arc.place,
                f"an arc between {arc.place} and {arc.transition} has the weight {arc.weight}",
            )
