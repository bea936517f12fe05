"""From a filter to a condition in SQL that says the same as `filter_expressions.predicate`.

Every value of a filter travels as a parameter, never in the text. A condition is true or false and
never NULL, so that it can be negated. Strings are ordered by code point whatever the database's
collation is.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Table,
    Text,
    and_,
    bindparam,
    func,
    not_,
    or_,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB

from wms_grpc.domain.filter_expressions import (
    And,
    Comparison,
    FieldPath,
    Filter,
    Like,
    Node,
    Not,
    Operator,
    Or,
    Present,
    Value,
)
from wms_grpc.storage.tables import MOMENT

__all__ = ["condition"]

_ORDER: Mapping[Operator, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def condition(filter_: Filter, table: Table) -> ColumnElement[bool]:
    """Return the filter as a condition on the table, whose columns are named as its fields."""
    return true() if filter_.root is None else _condition(filter_.root, table)


def _condition(node: Node, table: Table) -> ColumnElement[bool]:
    match node:
        case And(nodes):
            return and_(*(_condition(part, table) for part in nodes))
        case Or(nodes):
            return or_(*(_condition(part, table) for part in nodes))
        case Not(inner):
            return not_(_condition(inner, table))
        case Present(path):
            return _presence(path, table)
        case Like(path, pieces):
            return _total(
                path, table, _string(path, table).like(_bound("%".join(map(_escaped, pieces))))
            )
        case Comparison():
            return _comparison(node, table)


def _comparison(comparison: Comparison, table: Table) -> ColumnElement[bool]:
    path, sign, value = comparison.path, comparison.operator, comparison.value
    if path.key is not None and sign == "=":
        # Containment and not `->>`: this is what the index on labels serves.
        return table.c[path.name].contains(bindparam(None, {path.key: value}, JSONB))
    left: ColumnElement[Any] = table.c[path.name]
    if isinstance(value, str):
        left = _string(path, table)
        if sign != "=":
            left = left.collate("C")
    return _total(path, table, _ORDER[sign](left, _bound(value)))


def _presence(path: FieldPath, table: Table) -> ColumnElement[bool]:
    column = table.c[path.name]
    if path.key is not None:
        return column.op("?", is_comparison=True, return_type=Boolean())(_bound(path.key))
    if isinstance(column.type, JSONB):
        return column != bindparam(None, {}, JSONB)
    if isinstance(column.type, Text):
        return column != _bound("")
    return column.is_not(None) if column.nullable else true()


def _string(path: FieldPath, table: Table) -> ColumnElement[Any]:
    column = table.c[path.name]
    return column if path.key is None else column.op("->>", return_type=Text())(_bound(path.key))


def _total(path: FieldPath, table: Table, maybe: ColumnElement[bool]) -> ColumnElement[bool]:
    if path.key is not None:
        return func.coalesce(maybe, bindparam(None, False, Boolean))
    column = table.c[path.name]
    # Not by coalesce, which would keep an index on the column from being used.
    return and_(column.is_not(None), maybe) if column.nullable else maybe


def _bound(value: Value) -> ColumnElement[Any]:
    match value:
        case bool():
            return bindparam(None, value, Boolean)
        case int():
            return bindparam(None, value, BigInteger)
        case datetime():
            return bindparam(None, value, MOMENT)
        case str():
            return bindparam(None, value, Text)


def _escaped(piece: str) -> str:
    return piece.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
