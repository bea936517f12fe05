"""The queues of container tasks: which nobody fills, drains or can ever close.

A task is done when its inputs are drained, and a private queue closes when all that write to it
are done; a public one when its user has said so too (`domain.draining`). So a task on a cycle of
queues, or fed from one, is never done by itself, and a task that waits for it never starts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from wms_grpc.domain.nets import Dependency
from wms_grpc.domain.tasks import ContainerWork, Task

__all__ = ["Queues", "never_done", "queues_of"]


@dataclass(frozen=True, slots=True)
class Queues:
    """Who writes to each queue, and who reads it, by alias."""

    writers: Mapping[str, Sequence[str]]
    readers: Mapping[str, Sequence[str]]
    public: Collection[str]

    def unfilled(self) -> list[str]:
        """Return the queues that are read, and into which nothing ever comes."""
        return [a for a in self.readers if a not in self.writers and a not in self.public]

    def undrained(self) -> list[str]:
        """Return the queues that are written to, and that nobody reads."""
        return [a for a in self.writers if a not in self.readers and a not in self.public]

    def unused(self) -> list[str]:
        """Return the public queues that no task reads or writes to."""
        return sorted(a for a in self.public if a not in self.writers and a not in self.readers)


def queues_of(tasks: Iterable[Task], public_aliases: Iterable[str]) -> Queues:
    """Return the queues of the container tasks."""
    writers: dict[str, list[str]] = defaultdict(list)
    readers: dict[str, list[str]] = defaultdict(list)
    for task in tasks:
        if isinstance(task.work, ContainerWork):
            for alias in dict.fromkeys(task.work.output_aliases):
                writers[alias].append(task.name)
            for alias in dict.fromkeys(task.work.input_aliases):
                readers[alias].append(task.name)
    return Queues(dict(writers), dict(readers), frozenset(public_aliases))


def never_done(
    tasks: Sequence[Task], dependencies: Iterable[Dependency], queues: Queues
) -> dict[str, tuple[str, ...]]:
    """Return the container tasks that are never done by themselves, with the queues it is due to.

    A queue that is on a cycle, or fed from one, through other queues and through what waits for
    what. Linear in tasks, queues and dependencies.
    """
    if not queues.readers:
        return {}
    waiting = _Waiting()
    for task in tasks:
        waiting.add(("task", task.name))
        if isinstance(task.work, ContainerWork):
            for alias in task.work.input_aliases:
                waiting.needs(("task", task.name), ("queue", alias))
    for alias, writers in queues.writers.items():
        for writer in writers:
            waiting.needs(("queue", alias), ("task", writer))
    for number, dependency in enumerate(dependencies):
        for parent in dependency.parents:
            waiting.needs(("join", str(number)), ("task", parent))
        for child in dependency.children:
            waiting.needs(("task", child), ("join", str(number)))
    happening = waiting.what_happens()
    return {
        task.name: closed
        for task in tasks
        if isinstance(task.work, ContainerWork) and ("task", task.name) not in happening
        if (closed := _unclosed(task.work, happening))
    }


_Event = tuple[str, str]


def _unclosed(work: ContainerWork, happening: Collection[_Event]) -> tuple[str, ...]:
    return tuple(alias for alias in work.input_aliases if ("queue", alias) not in happening)


class _Waiting:
    """What happens once all of what it needs has happened."""

    def __init__(self) -> None:
        self._n_needed: dict[_Event, int] = {}
        self._followers: dict[_Event, list[_Event]] = defaultdict(list)

    def add(self, event: _Event) -> None:
        self._n_needed.setdefault(event, 0)

    def needs(self, event: _Event, other: _Event) -> None:
        self.add(other)
        self._n_needed[event] = self._n_needed.get(event, 0) + 1
        self._followers[other].append(event)

    def what_happens(self) -> set[_Event]:
        """Return what happens in the end; what needs itself does not."""
        missing = dict(self._n_needed)
        ready = [event for event, number in missing.items() if not number]
        happened = set(ready)
        while ready:
            for follower in self._followers.get(ready.pop(), ()):
                missing[follower] -= 1
                if not missing[follower]:
                    happened.add(follower)
                    ready.append(follower)
        return happened
