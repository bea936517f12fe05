"""Who waits for whom in a WfFormat file, and who makes which file.

Parents and children say it, from either side; files say it too: who reads what another writes
comes after it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

import rustworkx as rx

from wms_grpc.domain.nets import Dependency
from wms_grpc.gateway.model import MAX_NODES, Refused
from wms_grpc.gateway.positioned_json import Lines
from wms_grpc.gateway.report import Report
from wms_grpc.gateway.wfformat_parts import Entry, Reference

__all__ = ["Order", "order_of", "refused_duplicate"]


class Order:
    """The parents of each task, in order, and the producer of each file that a task reads."""

    def __init__(self) -> None:
        self.parents: dict[str, dict[str, None]] = {}
        self.producers: dict[str, dict[str, str]] = {}

    def dependencies(self) -> tuple[Dependency, ...]:
        """Return one dependency for each task that waits."""
        return tuple(
            Dependency(tuple(parents), (child,))
            for child, parents in self.parents.items()
            if parents
        )


def order_of(entries: Sequence[Entry], lines: Lines, report: Report) -> Order:
    """Return the order of tasks whose ids are distinct. Raises Refused beyond the bounds."""
    return _Ordering(entries, lines, report).order()


class _Ordering:
    def __init__(self, entries: Sequence[Entry], lines: Lines, report: Report) -> None:
        self._entries = entries
        self._lines = lines
        self._report = report
        self._ids = {entry.id for entry in entries}
        self._by_label = _unique_labels(entries, self._ids)
        self._order = Order()

    def order(self) -> Order:
        self._explicit()
        self._by_files()
        n_edges = sum(len(parents) for parents in self._order.parents.values())
        if n_edges > MAX_NODES:
            raise self._lines.refuse("TOO_LARGE", f"more than {MAX_NODES} edges", 0)
        return self._order

    def _explicit(self) -> None:
        parents = self._order.parents
        told_by_child: set[tuple[str, str]] = set()
        for entry in self._entries:
            names = self._known(entry, entry.parents, "parent")
            parents[entry.id] = dict.fromkeys(names)
            told_by_child.update((name, entry.id) for name in names)
        has_parents = bool(told_by_child)
        for entry in self._entries:
            names = self._known(entry, entry.children, "child")
            for name in names:
                parents[name][entry.id] = None
            one_sided = [name for name in names if (entry.id, name) not in told_by_child]
            if one_sided and has_parents:
                self._report.tell(
                    "ONE_SIDED_EDGE",
                    f"{entry.id} calls {one_sided[0]} its child, which does not call it its "
                    "parent; the edge is there",
                    self._lines.at(entry.offset),
                    entry.id,
                )

    def _known(self, entry: Entry, references: Iterable[Reference], what: str) -> list[str]:
        names: dict[str, None] = {}
        for reference in references:
            name = reference.name if reference.name in self._ids else None
            name = name or self._by_label.get(reference.name)
            if name is not None:
                names[name] = None
            elif reference.name:
                self._report.tell(
                    "UNKNOWN_NAME",
                    f"{entry.id} has the {what} {reference.name[:100]}, and there is no such task",
                    self._lines.at(reference.offset),
                    entry.id,
                    "error",
                )
        return list(names)

    def _by_files(self) -> None:
        writers: dict[str, list[str]] = defaultdict(list)
        for entry in self._entries:
            for file in dict.fromkeys(reference.name for reference in entry.outputs):
                writers[file].append(entry.id)
        wanted: list[tuple[Entry, Reference, str]] = []
        for entry in self._entries:
            producers = self._order.producers[entry.id] = {}
            for reference in entry.inputs:
                producer = self._producer(entry, writers.get(reference.name, ()))
                if producer is None:
                    continue
                if producer in self._order.parents[entry.id]:
                    producers[reference.name] = producer
                else:
                    wanted.append((entry, reference, producer))
        if wanted:
            self._add(wanted)

    def _producer(self, entry: Entry, writers: Collection[str]) -> str | None:
        others = [name for name in writers if name != entry.id]
        for name in others:
            if name in self._order.parents[entry.id]:
                return name
        return others[0] if others else None

    def _add(self, wanted: Sequence[tuple[Entry, Reference, str]]) -> None:
        """Add what files ask for, where that makes no cycle."""
        rank = self._ranks([(producer, entry.id) for entry, _, producer in wanted])
        if rank is None:
            rank = self._ranks([]) or {}
        for entry, reference, producer in wanted:
            position = self._lines.at(reference.offset)
            words = f"{entry.id} reads {reference.name[:100]} of {producer}"
            if rank and rank[producer] < rank[entry.id]:
                self._order.producers[entry.id][reference.name] = producer
                self._order.parents[entry.id][producer] = None
                self._report.tell(
                    "IMPLIED_DEPENDENCY", f"{words}, so it waits for it", position, entry.id, "info"
                )
            else:
                self._report.tell(
                    "DATA_WITHOUT_ORDER",
                    f"{words}, which does not come before it; the file must be there already",
                    position,
                    entry.id,
                )

    def _ranks(self, more: Sequence[tuple[str, str]]) -> Mapping[str, int] | None:
        graph: rx.PyDiGraph[str, None] = rx.PyDiGraph(multigraph=False)
        number_of = dict(
            zip(self._order.parents, graph.add_nodes_from(list(self._order.parents)), strict=True)
        )
        graph.add_edges_from_no_data(
            [
                (number_of[parent], number_of[child])
                for child, parents in self._order.parents.items()
                for parent in parents
            ]
            + [(number_of[parent], number_of[child]) for parent, child in more]
        )
        if not rx.is_directed_acyclic_graph(graph):
            return None
        return {graph[node]: rank for rank, node in enumerate(rx.topological_sort(graph))}


def _unique_labels(entries: Sequence[Entry], ids: Collection[str]) -> dict[str, str]:
    """Return the ids of tasks by those names that only one has; older files refer by name."""
    by_label: dict[str, str] = {}
    twice: set[str] = set()
    for entry in entries:
        if entry.label and entry.label not in ids:
            if entry.label in by_label:
                twice.add(entry.label)
            by_label[entry.label] = entry.id
    return {label: name for label, name in by_label.items() if label not in twice}


def refused_duplicate(entries: Sequence[Entry], lines: Lines) -> Refused | None:
    """Return the refusal of an id that stands twice, if one does."""
    seen: set[str] = set()
    for entry in entries:
        if entry.id in seen:
            words = f"the id {entry.id[:100]} stands here a second time"
            return lines.refuse("DUPLICATE_NAME", words, entry.offset)
        seen.add(entry.id)
    return None
