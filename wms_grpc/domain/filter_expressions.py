"""What a filter says, as frozen values, and what it means.

`predicate` makes a Python function of a filter, for watches; `storage.filtering` makes a condition
in SQL of it, for lists. Both say the same of every resource. A comparison is either true or false:
what a resource has no value for (no `end_time` yet, no such label) equals nothing and is neither
smaller nor larger than anything. A filter is of the right types when it comes from
`filters.parse_filter`; nothing here checks that again.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Literal

__all__ = [
    "And",
    "Comparison",
    "FieldPath",
    "Filter",
    "Like",
    "Node",
    "Not",
    "Operator",
    "Or",
    "Present",
    "Value",
    "matches",
    "predicate",
]

Operator = Literal["=", "<", "<=", ">", ">="]
Value = str | int | bool | datetime
Attributes = Mapping[str, object]
Predicate = Callable[[Attributes], bool]


@dataclass(frozen=True, slots=True)
class FieldPath:
    """A field, or the entry `key` of a field that is a map."""

    name: str
    key: str | None = None

    def __str__(self) -> str:
        return self.name if self.key is None else f"{self.name}.{_quoted(self.key)}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The field's value stands so to `value`. Strings are ordered by code point."""

    path: FieldPath
    operator: Operator
    value: Value


@dataclass(frozen=True, slots=True)
class Like:
    """The string consists of `pieces` in their order, with anything between two of them."""

    path: FieldPath
    pieces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Present:
    """The field has a value: a string that is not empty, a map with an entry, a map's key."""

    path: FieldPath


@dataclass(frozen=True, slots=True)
class Not:
    """`node` is not true."""

    node: Node


@dataclass(frozen=True, slots=True)
class And:
    """All are true."""

    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """One at least is true."""

    nodes: tuple[Node, ...]


Node = Comparison | Like | Present | Not | And | Or


@dataclass(frozen=True)
class Filter:
    """A filter over one kind of resource; without a root it lets everything through."""

    root: Node | None = None

    @cached_property
    def canonical(self) -> str:
        """The same text for filters that differ in spacing, quotes and spelling alone."""
        return "" if self.root is None else _text(self.root)

    @cached_property
    def predicate(self) -> Predicate:
        """Says of a resource's attributes whether the filter lets it through."""
        return (lambda _: True) if self.root is None else _compiled(self.root)


def predicate(filter_: Filter) -> Predicate:
    """Return the filter as a function, compiled once.

    The function takes a mapping from field to value: str, int, bool, datetime or ISO 8601 text,
    a mapping for a map, None or nothing for what has no value.
    """
    return filter_.predicate


def matches(filter_: Filter, attributes: Attributes) -> bool:
    """Whether the filter lets a resource with these attributes through; see `predicate`."""
    return filter_.predicate(attributes)


_ORDER: Mapping[Operator, Callable[[Value, Value], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def _compiled(node: Node) -> Predicate:
    match node:
        case And(nodes):
            every = tuple(_compiled(part) for part in nodes)
            return lambda attributes: all(part(attributes) for part in every)
        case Or(nodes):
            some = tuple(_compiled(part) for part in nodes)
            return lambda attributes: any(part(attributes) for part in some)
        case Not(inner):
            wrong = _compiled(inner)
            return lambda attributes: not wrong(attributes)
        case Comparison():
            return _compiled_comparison(node)
        case Like(path, pieces):
            read = _reader(path)
            return lambda attributes: _is_like(read(attributes), pieces)
        case Present(path):
            read = _reader(path)
            if path.key is not None:
                return lambda attributes: read(attributes) is not None
            return lambda attributes: read(attributes) not in (None, "", {})


def _compiled_comparison(comparison: Comparison) -> Predicate:
    read = _reader(comparison.path)
    compare = _ORDER[comparison.operator]
    wanted = comparison.value
    if isinstance(wanted, datetime):
        moment = wanted

        def is_so(attributes: Attributes) -> bool:
            found = read(attributes)
            return found is not None and compare(_moment(found), moment)

        return is_so
    return lambda attributes: (
        (found := read(attributes)) is not None
        and isinstance(found, str | int)
        and compare(found, wanted)
    )


def _reader(path: FieldPath) -> Callable[[Attributes], object]:
    name, key = path.name, path.key
    if key is None:
        return lambda attributes: attributes.get(name)

    def entry(attributes: Attributes) -> object:
        found = attributes.get(name)
        return found.get(key) if isinstance(found, Mapping) else None

    return entry


def _moment(found: object) -> datetime:
    moment = found if isinstance(found, datetime) else datetime.fromisoformat(str(found))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _is_like(found: object, pieces: tuple[str, ...]) -> bool:
    if not isinstance(found, str):
        return False
    first, *middle, last = pieces
    if len(found) < len(first) + len(last) or not found.startswith(first):
        return False
    end = len(found) - len(last)
    if not found.endswith(last):
        return False
    # The leftmost place of each piece leaves the most room for those behind it.
    position = len(first)
    for piece in middle:
        position = found.find(piece, position, end)
        if position < 0:
            return False
        position += len(piece)
    return True


def _text(node: Node) -> str:
    match node:
        case And(nodes):
            return " AND ".join(_grouped(part) for part in nodes)
        case Or(nodes):
            return " OR ".join(_grouped(part) for part in nodes)
        case Not(inner):
            return f"NOT {_grouped(inner)}"
        case Present(path):
            return f"{path}:*"
        case Like(path, pieces):
            wildcard = "*".join(_quoted(piece)[1:-1] for piece in pieces)
            return f'{path} = "{wildcard}"'
        case Comparison(path, sign, value):
            return f"{path} {sign} {_literal(value)}"


def _grouped(node: Node) -> str:
    return f"({_text(node)})" if isinstance(node, And | Or) else _text(node)


def _literal(value: Value) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case datetime():
            return value.isoformat()
        case str():
            return _quoted(value)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("*", "\\*")
    return f'"{escaped}"'
