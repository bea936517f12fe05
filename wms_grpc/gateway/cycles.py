"""Cycles among dependencies, found without a place for each pair."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from wms_grpc.domain.nets import Dependency

__all__ = ["find_cycle"]


def find_cycle(dependencies: Sequence[Dependency]) -> tuple[tuple[str, ...], int] | None:
    """Return the names along one cycle, each waiting for the one before, and the dependency of it
    that comes last; None if there is no cycle. Linear in the names that the dependencies mention.
    """
    waits: dict[str, list[int]] = defaultdict(list)
    feeds: dict[str, list[int]] = defaultdict(list)
    for number, dependency in enumerate(dependencies):
        for child in dependency.children:
            waits[child].append(number)
        for parent in dependency.parents:
            feeds[parent].append(number)
    n_open = [len(dependency.parents) for dependency in dependencies]
    missing = {name: len(numbers) for name, numbers in waits.items()}
    ready = [name for name in feeds if name not in missing]
    while ready:
        for number in feeds[ready.pop()]:
            n_open[number] -= 1
            if n_open[number]:
                continue
            for child in dependencies[number].children:
                missing[child] -= 1
                if not missing[child]:
                    ready.append(child)
    stuck = {name for name, n_missing in missing.items() if n_missing}
    return _walked(dependencies, waits, stuck) if stuck else None


def _walked(
    dependencies: Sequence[Dependency], waits: dict[str, list[int]], stuck: set[str]
) -> tuple[tuple[str, ...], int]:
    # Who is stuck waits for somebody who is stuck: going backwards must come round.
    name = min(stuck)
    path, by, seen = [name], [-1], {name: 0}
    while True:
        number, name = next(
            (number, parent)
            for number in waits[name]
            for parent in dependencies[number].parents
            if parent in stuck
        )
        by.append(number)
        if name in seen:
            first = seen[name]
            return tuple(reversed([*path[first:], name])), max(by[first + 1 :])
        seen[name] = len(path)
        path.append(name)
