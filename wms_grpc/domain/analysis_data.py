"""Files that tasks take from one another: of whom, and whether that one comes before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import rustworkx as rx

from wms_grpc.domain.analysis_graph import Graph
from wms_grpc.domain.analysis_names import error
from wms_grpc.domain.findings import Finding
from wms_grpc.domain.tasks import BatchWork, Task, TransferWork

__all__ = ["errors_of_data", "files_without_order"]

_PREFIX: Final = "task:"
_MOST_SEARCHES: Final = 200


def errors_of_data(tasks: Sequence[Task]) -> Iterator[Finding]:
    """Yield the files of tasks that do not exist."""
    names = _Names(task.name for task in tasks)
    for task in tasks:
        for file in _taken(task):
            if names.producer(file) is None:
                words = f"{task.name} takes {file[:200]}, and there is no such task"
                yield error("UNKNOWN_NAME", task.name, words)


def files_without_order(tasks: Sequence[Task], graph: Graph) -> Iterator[Finding]:
    """Yield the files of tasks that do not come before the one that takes them.

    That a parent comes before is seen at once; for others the graph is searched, a bounded number
    of times, and those beyond are not told of.
    """
    number_of = {name: number for number, name in enumerate(graph.names) if name is not None}
    names = _Names(number_of)
    n_searches = 0
    for task in tasks:
        if task.name not in number_of:
            continue
        node = number_of[task.name]
        told: set[str] = set()
        before: set[int] | None = None
        for file in _taken(task):
            producer = names.producer(file)
            if producer is None or producer in told:
                continue
            told.add(producer)
            if graph.graph.has_edge(number_of[producer], node):
                continue
            if before is None:
                n_searches += 1
                if n_searches > _MOST_SEARCHES:
                    return
                before = rx.ancestors(graph.graph, node)
            if number_of[producer] not in before:
                words = f"{task.name} takes {file[:200]}, and does not wait for {producer}"
                yield Finding("DATA_WITHOUT_ORDER", words, subject=task.name)


def _taken(task: Task) -> Iterator[str]:
    files: Iterable[str] = ()
    if isinstance(task.work, BatchWork):
        files = task.work.inputs
    elif isinstance(task.work, TransferWork):
        files = (transfer.source for transfer in task.work.transfers)
    return (file for file in files if file.startswith(_PREFIX))


class _Names:
    def __init__(self, names: Iterable[str]) -> None:
        self._names = set(names)
        self._longest = max(map(len, self._names), default=0)

    def producer(self, file: str) -> str | None:
        """Return the task of a `task:<name>/<file>`; names may have slashes, the longest counts."""
        name = file.removeprefix(_PREFIX)[: self._longest + 1]
        while "/" in name:
            name = name.rpartition("/")[0]
            if name in self._names:
                return name
        return None
