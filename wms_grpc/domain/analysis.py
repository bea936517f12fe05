"""The analysis of a workflow before it runs: what forbids it, and what its user should know.

Pure. Errors are certain: names that do not fit, a cycle among dependencies, a task that can never
start, a recovery that cannot work. Findings say whether the net is sound, what its queues lack,
how wide it is and what its longest path. Dependencies are analysed in time linear in what was
written down; nets that were given as nets within bounds, past which the answer is `UNKNOWN`.

Codes of errors: DUPLICATE_NAME, UNKNOWN_NAME, NOT_IN_THE_NET, NET_AND_DEPENDENCIES, CYCLE,
NEVER_STARTS, QUEUE_NEVER_CLOSES, ARC_WITHOUT_PLACE, ARC_WITHOUT_TRANSITION, BAD_WEIGHT,
RECOVERY_TASK_DEPENDS, RECOVERY_TASK_AWAITED, RECOVERY_TASK_SHARED, RECOVERY_WITHOUT_TASK,
RECOVERY_OF_ITSELF. Of warnings: NOT_SOUND, UNKNOWN, QUEUE_NOT_FILLED, QUEUE_NOT_DRAINED,
QUEUE_UNUSED, RECOVERY_TASK_UNUSED, DATA_WITHOUT_ORDER. Of what is only told: SOUND,
NOT_A_WORKFLOW_NET, WIDTH, CRITICAL_PATH.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from wms_grpc.domain.analysis_data import errors_of_data, files_without_order
from wms_grpc.domain.analysis_graph import (
    Graph,
    Shape,
    cycles,
    graph_of_dependencies,
    graph_of_net,
    shape,
)
from wms_grpc.domain.analysis_names import (
    error,
    errors_of_dependencies,
    errors_of_net,
    errors_of_tasks,
)
from wms_grpc.domain.analysis_nets import IndexedNet, indexed
from wms_grpc.domain.analysis_queues import Queues, never_done, queues_of
from wms_grpc.domain.analysis_soundness import never_occurring, soundness
from wms_grpc.domain.findings import Finding, Position
from wms_grpc.domain.nets import Dependency, Net
from wms_grpc.domain.tasks import Task, WaitWork
from wms_grpc.domain.words import counted, first_few

__all__ = ["MOST_OF_A_CODE", "Subject", "analyze", "known_durations", "shape_of"]

MOST_OF_A_CODE: Final = 100
"""How many findings of one code are told one by one."""
_MOST_NAMES: Final = 20


@dataclass(frozen=True)
class Subject:
    """A workflow to analyse: what `gateway.model.Workflow` has of it, and what else is known.

    Parameters
    ----------
    durations
        Seconds that tasks are known to take, by their names; timers need not be told.
    positions
        Where tasks and places stand in files, by their names.
    """

    tasks: Sequence[Task]
    dependencies: Sequence[Dependency] = ()
    net: Net | None = None
    public_aliases: Iterable[str] = ()
    durations: Mapping[str, float] = field(default_factory=dict)
    positions: Mapping[str, Position] = field(default_factory=dict)


def analyze(subject: Subject) -> tuple[Finding, ...]:
    """Return the findings, errors first; each names its task or place, and its position if known.

    Of the same code at most `MOST_OF_A_CODE`, with one more that counts the others.
    """
    found = [*_errors(subject)]
    if not any(finding.severity == "error" for finding in found):
        found.extend(_of_structure(subject))
    found.extend(_of_queues(subject))
    bounded = [*_bounded(found)]
    bounded.sort(key=lambda finding: ("error", "warning", "info").index(finding.severity))
    return tuple(
        replace(finding, position=subject.positions.get(finding.subject, finding.position))
        for finding in bounded
    )


def shape_of(subject: Subject) -> Shape | None:
    """Return how wide and long the workflow is; None where that means nothing.

    That is with cycles, and in given nets in which something is chosen.
    """
    graph = _graph(subject)
    return None if graph is None else shape(graph, known_durations(subject))


def known_durations(subject: Subject) -> dict[str, float]:
    """Return what tasks are known to take, timers included."""
    timers = {
        task.name: task.work.seconds
        for task in subject.tasks
        if isinstance(task.work, WaitWork) and task.work.seconds is not None
    }
    return {**timers, **subject.durations}


def _errors(subject: Subject) -> Iterator[Finding]:
    yield from errors_of_tasks(subject.tasks)
    yield from errors_of_data(subject.tasks)
    if subject.net is None:
        yield from errors_of_dependencies(subject.tasks, subject.dependencies)
        yield from _cycles(subject)
    elif subject.dependencies:
        yield error(
            "NET_AND_DEPENDENCIES",
            "",
            "tasks wait for one another either by a net or by dependencies, not by both",
        )
    else:
        yield from errors_of_net(subject.tasks, subject.net)


def _of_structure(subject: Subject) -> Iterator[Finding]:
    if subject.net is None:
        if _nodes(subject):
            yield _told("SOUND", "", "sound: nothing is chosen, and nothing waits for itself")
        yield from files_without_order(
            subject.tasks, graph_of_dependencies(_nodes(subject), subject.dependencies)
        )
    else:
        net = indexed(subject.net)
        yield from _of_given_net(net)
        yield from _tasks_without_transition(subject, subject.net)
    measures = shape_of(subject)
    if measures is not None:
        yield from _of_shape(measures)


def _cycles(subject: Subject) -> Iterator[Finding]:
    names = [task.name for task in subject.tasks]
    for ring, n_behind in cycles(graph_of_dependencies(names, subject.dependencies)):
        closed = first_few(ring, _MOST_NAMES)
        words = f"a cycle: each of them waits for the one before, the first for the last: {closed}"
        if len(ring) == 1:
            words = f"{ring[0]} waits for itself"
        if n_behind:
            words += f"; {counted(n_behind, 'task')} behind cannot start either"
        yield error("CYCLE", ring[0], words)


def _of_given_net(net: IndexedNet) -> Iterator[Finding]:
    known = soundness(net)
    never = dict.fromkeys(known.never, "no run leads there") | never_occurring(net)
    for transition in sorted(never.keys() - net.unnamed or never):
        name = net.transition_names[transition]
        yield error("NEVER_STARTS", name, f"{name} can never start: {never[transition]}")
    match known.outcome:
        case "sound":
            yield _told("SOUND", "", f"sound: {known.reason}")
        case "unsound":
            yield Finding("NOT_SOUND", f"not sound: {known.reason}", subject=known.subject)
        case "unknown":
            yield Finding(
                "UNKNOWN", f"soundness is not known: {known.reason}", subject=known.subject
            )
        case "not a workflow net":
            yield _told("NOT_A_WORKFLOW_NET", known.subject, known.reason)


def _tasks_without_transition(subject: Subject, net: Net) -> Iterator[Finding]:
    named = {transition.task for transition in net.transitions}
    named |= {task.recovery.task for task in subject.tasks}
    for task in subject.tasks:
        if task.role == "node" and task.name not in named:
            yield error(
                "NEVER_STARTS", task.name, f"no transition of the net names task {task.name}"
            )


def _of_shape(measures: Shape) -> Iterator[Finding]:
    yield _told(
        "WIDTH",
        "",
        f"{counted(measures.width, 'task')} can run at the same time on level {measures.level} of "
        f"{measures.n_levels}, the widest",
    )
    path = measures.critical_path
    words = f"the longest path has {counted(len(path), 'task')}: {first_few(path, _MOST_NAMES)}"
    if measures.n_unknown < len(path):
        words += f"; at least {measures.seconds:.6g} s"
        if measures.n_unknown:
            words += f", and {measures.n_unknown} of them of unknown duration"
    yield _told("CRITICAL_PATH", path[-1], words)


def _of_queues(subject: Subject) -> Iterator[Finding]:
    queues = queues_of(subject.tasks, subject.public_aliases)
    for alias in queues.unfilled():
        readers = first_few(queues.readers[alias], 3)
        yield Finding(
            "QUEUE_NOT_FILLED", f"nothing ever comes into {alias}, read by {readers}", subject=alias
        )
    for alias in queues.undrained():
        writers = first_few(queues.writers[alias], 3)
        yield Finding(
            "QUEUE_NOT_DRAINED", f"nobody reads {alias}, written by {writers}", subject=alias
        )
    for alias in queues.unused():
        yield Finding("QUEUE_UNUSED", f"no task reads or writes {alias}", subject=alias)
    if subject.net is None:
        yield from _never_closing(subject, queues)
    else:
        yield from _data_places(subject.net, set(subject.public_aliases))


def _never_closing(subject: Subject, queues: Queues) -> Iterator[Finding]:
    endless = never_done(subject.tasks, subject.dependencies, queues)
    if not endless:
        return
    told: set[str] = set()
    for dependency in subject.dependencies:
        for parent in dependency.parents:
            if parent in endless and parent not in told:
                told.add(parent)
                children = first_few(dependency.children, 3)
                closed = first_few(endless[parent], 3)
                yield error(
                    "QUEUE_NEVER_CLOSES",
                    parent,
                    f"{children} waits for {parent}, which never ends by itself: nobody can close "
                    f"{closed}, which waits for its own readers",
                )


def _data_places(net: Net, public: set[str]) -> Iterator[Finding]:
    filled = {arc.place for arc in net.arcs if arc.mode in ("put", "write")}
    drained = {arc.place for arc in net.arcs if arc.mode in ("take", "read")}
    for place in net.places:
        name = place.name or place.id
        if place.kind != "data" or name in public:
            continue
        if place.id not in filled and not place.tokens:
            yield Finding("QUEUE_NOT_FILLED", f"nothing ever comes into {name}", subject=name)
        if place.id not in drained:
            yield Finding("QUEUE_NOT_DRAINED", f"nobody reads {name}", subject=name)


def _graph(subject: Subject) -> Graph | None:
    if subject.net is not None:
        return graph_of_net(subject.net)
    return graph_of_dependencies(_nodes(subject), subject.dependencies)


def _nodes(subject: Subject) -> list[str]:
    """Return the tasks that are in the net whatever happens: no recovery, no final or service."""
    recovering = {
        task.recovery.task
        for task in subject.tasks
        if task.recovery.then in ("fallback", "compensate")
    }
    return [t.name for t in subject.tasks if t.role == "node" and t.name not in recovering]


def _told(code: str, subject: str, message: str) -> Finding:
    return Finding(code, message, subject=subject, severity="info")


def _bounded(found: Sequence[Finding]) -> Iterator[Finding]:
    counts: Counter[str] = Counter()
    for finding in found:
        counts[finding.code] += 1
        if counts[finding.code] <= MOST_OF_A_CODE:
            yield finding
    last = {finding.code: finding for finding in found}
    for code, number in counts.items():
        if number > MOST_OF_A_CODE:
            words = f"and {number - MOST_OF_A_CODE} more of such"
            yield Finding(code, words, subject=last[code].subject, severity=last[code].severity)
