"""What the nodes of a dag have to do with one another: dependencies, and files handed on."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from typing import Final

from wms_grpc.domain.nets import Dependency
from wms_grpc.gateway.cycles import find_cycle
from wms_grpc.gateway.jdl_nodes import Node
from wms_grpc.gateway.jdl_said import Report, Said, Sayings
from wms_grpc.gateway.jdl_syntax import List, Path, Text, Value
from wms_grpc.gateway.jdl_words import INHERITED
from wms_grpc.gateway.model import MAX_DEPTH, MAX_NODES

__all__ = ["Graph", "refused_reference"]

_OUTPUTS: Final = ("outputsandbox", "stdoutput", "stderror")
_MAX_STEPS: Final = 1_000_000
"""Of the search for a dependency that a file handed on already has."""


class Graph:
    """The nodes by what they are called. `dependencies` comes last."""

    def __init__(self, nodes: Sequence[Node], dag: Sayings, report: Report) -> None:
        self._by_key = {node.key: node for node in nodes}
        self._by_number = [node.key for node in nodes]
        self._dag = dag
        self._report = report
        self._found: list[tuple[Dependency, Said, int]] = []
        self._n_edges = 0
        self._handed: dict[tuple[str, str], Said] = {}
        self.referred: set[str] = set()

    def read_dependencies(self, said: Said) -> None:
        """Take up a list of pairs. Raises Refused."""
        if not isinstance(said.value, List):
            raise said.refused("WRONG_TYPE", "dependencies must be a list, { … }")
        pairs: Sequence[Value] = said.value.items
        if len(pairs) == 2 and not any(isinstance(pair, List) for pair in pairs):
            pairs = [said.value]  # a single pair, without a list around it
        for pair in pairs:
            if not isinstance(pair, List) or len(pair.items) != 2:
                message = "a dependency must be a pair: { before, after }"
                raise said.refused("BAD_DEPENDENCY", message, pair.start)
            parents, children = (self._side(said, side) for side in pair.items)
            self._n_edges += len(parents) + len(children)
            if self._n_edges > 2 * MAX_NODES:
                raise said.refused("TOO_LARGE", f"more than {MAX_NODES} edges", pair.start)
            self._found.append((Dependency(parents, children), said, pair.start))

    def dependencies(self) -> tuple[Dependency, ...]:
        """Return all dependencies, with those that files handed on ask for.

        Raises Refused at the dependency that closes a cycle.
        """
        self._found += self._implied()
        dependencies = tuple(dependency for dependency, _, _ in self._found)
        cycle = find_cycle(dependencies)
        if cycle is not None:
            names, number = cycle
            shown = " -> ".join(names[:6]) + (" -> …" if len(names) > 6 else "")
            _, said, start = self._found[number]
            raise said.refused("CYCLE", f"a cycle: {shown}", start)
        return dependencies

    def files_of(self, consumer: Node, said: Said, path: Path) -> tuple[str, ...]:
        """Return the files that a path in a node's InputSandbox stands for."""
        return tuple(self._resolved(consumer, said, path, 0))

    def _implied(self) -> list[tuple[Dependency, Said, int]]:
        parents_of: dict[str, list[Dependency]] = defaultdict(list)
        for dependency, _, _ in self._found:
            for child in dependency.children:
                parents_of[child].append(dependency)
        budget = _MAX_STEPS
        implied: list[tuple[Dependency, Said, int]] = []
        for (producer, consumer), said in self._handed.items():
            is_before, n_steps = _is_before(producer, consumer, parents_of, budget)
            budget -= n_steps
            if not is_before:
                message = f"{consumer} takes a file of {producer}, and so waits for it"
                self._report.note(said, "IMPLIED_DEPENDENCY", message, "info")
                dependency = Dependency((producer,), (consumer,))
                parents_of[consumer].append(dependency)
                implied.append((dependency, said, said.start))
        return implied

    def _side(self, said: Said, value: Value) -> tuple[str, ...]:
        items = value.items if isinstance(value, List) else [value]
        names = tuple(dict.fromkeys(self._named(said, item).name for item in items))
        if not names:
            message = "a dependency on nothing"
            raise said.refused("BAD_DEPENDENCY", message, value.start)
        return names

    def _named(self, said: Said, value: Value) -> Node:
        if isinstance(value, Text):
            name = value.text
        elif isinstance(value, Path):
            parts = _below_nodes(value.parts)
            name = str(parts[0]) if len(parts) == 1 else said.written
        else:
            raise said.refused("BAD_DEPENDENCY", "a node's name must stand here", value.start)
        node = self._by_key.get(name.lower())
        if node is None:
            raise said.refused("UNKNOWN_NAME", f"there is no node {name[:100]}", value.start)
        return node

    def _resolved(self, consumer: Node, said: Said, path: Path, depth: int) -> Iterator[str]:
        parts, lost = path.parts, f"{said.name}: the path leads nowhere"
        index = parts[-1] if isinstance(parts[-1], int) else None
        words = parts[:-1] if index is not None else parts
        node, words = self._of_whom(words)
        attribute = str(words[0]).lower() if len(words) == 1 else ""
        other = (node.description if node else self._dag) or {}
        target = other.get(attribute)
        if target is None and node is not None and attribute in INHERITED:
            target = self._dag.get(attribute)
        if node is None:
            self.referred.add(attribute)
        items = target.items() if target else []
        is_there = index is None or 0 <= index < len(items)
        if target is None or not is_there or depth > MAX_DEPTH:
            raise said.refused("BAD_REFERENCE", lost, path.start)
        for item in items if index is None else [items[index]]:
            self._report.made(said, 200 * (depth + 1))
            if isinstance(item, Path):
                yield from self._resolved(node or consumer, target, item, depth + 1)
            elif node is not None and attribute in _OUTPUTS:
                if node is consumer:
                    raise said.refused(
                        "BAD_REFERENCE", "a job cannot take its own output", path.start
                    )
                self._handed.setdefault((node.name, consumer.name), said)
                yield f"task:{node.name}/{target.text_of(item)}"
            else:
                yield target.text_of(item)

    def _of_whom(self, words: tuple[str | int, ...]) -> tuple[Node | None, tuple[str | int, ...]]:
        below = _below_nodes(words)
        key = below[0] if below else ""
        if isinstance(key, int) and words and 0 <= key < len(self._by_number):
            key = self._by_number[key]
        node = self._by_key.get(str(key).lower())
        if node is None:
            is_root = bool(words) and str(words[0]).lower() == "root"
            return None, words[1:] if is_root else words
        rest = below[1:]
        is_described = bool(rest) and str(rest[0]).lower() == "description"
        return node, rest[1:] if is_described else rest


def _below_nodes(parts: tuple[str | int, ...]) -> tuple[str | int, ...]:
    words = [part.lower() if isinstance(part, str) else part for part in parts[:2]]
    if words == ["root", "nodes"]:
        return parts[2:]
    return parts[1:] if words[:1] == ["nodes"] and len(parts) > 1 else parts


def _is_before(
    producer: str, consumer: str, parents_of: dict[str, list[Dependency]], budget: int
) -> tuple[bool, int]:
    """Whether one is a parent of the other, or a parent's parent; with the steps that it took."""
    seen, queue, n_steps = {consumer}, deque([consumer]), 0
    groups: set[int] = set()
    while queue and n_steps <= budget:
        for dependency in parents_of.get(queue.popleft(), ()):
            if id(dependency) in groups:
                continue
            groups.add(id(dependency))
            n_steps += len(dependency.parents)
            if producer in dependency.parents:
                return True, n_steps
            for parent in dependency.parents:
                if parent not in seen:
                    seen.add(parent)
                    queue.append(parent)
    return False, n_steps + 1


def refused_reference(said: Said, path: Path) -> tuple[str, ...]:
    """Refuse a path in a job that stands alone."""
    raise said.refused("BAD_REFERENCE", "a job that stands alone refers to nobody", path.start)
