"""Filters over workflows, task directives and taskforces, after AIP-160.

`parse_filter` reads a filter against the fields of a resource, checks every name and types every
value. In what AIP-160 leaves open: strings are compared by code point, upper and lower case
differ; `*` in a string is a wildcard with `=`, `!=` and `:`, and `\\*` in quotes is a star;
`field:value` means `field = value`, and `field:*` asks whether there is a value; `labels:team` and
`labels.team:*` ask for a key. `!=` is true of what has no value. A value without a field is
refused. What exceeds the limits below is refused, so that no filter is dear to read or to run.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Final, cast

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

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
    matches,
    predicate,
)
from wms_grpc.domain.filter_schemas import (
    TASK_DIRECTIVES,
    TASKFORCES,
    WATCHED_TASKFORCES,
    WORKFLOWS,
    Field,
    FilterSchema,
    Kind,
)

__all__ = [
    "TASKFORCES",
    "TASK_DIRECTIVES",
    "WATCHED_TASKFORCES",
    "WORKFLOWS",
    "Field",
    "Filter",
    "FilterError",
    "FilterSchema",
    "Kind",
    "matches",
    "parse_filter",
    "predicate",
]

MAX_LENGTH: Final = 8192
MAX_COMPARISONS: Final = 256
MAX_DEPTH: Final = 16


class FilterError(ValueError):
    """The filter cannot be read.

    `position` counts characters from 0; `line` and `column` count from 1.
    """

    def __init__(self, text: str, position: int, description: str) -> None:
        self.position = position
        self.description = description
        self.line = text.count("\n", 0, position) + 1
        self.column = position - (text.rfind("\n", 0, position) + 1) + 1
        super().__init__(
            f"{description} at position {position} (line {self.line}, column {self.column})"
        )


def parse_filter(text: str, schema: FilterSchema) -> Filter:
    """Return what the filter says; an empty one lets everything through.

    Raises FilterError for what is no filter, for fields that the schema has not, for values of
    the wrong type and for filters beyond the limits.
    """
    _check_limits(text)
    try:
        tree = _parser().parse(text)
    except UnexpectedInput as error:
        raise _syntax_error(text, error) from None
    comparisons = list(tree.find_data("restriction"))
    if len(comparisons) > MAX_COMPARISONS:
        raise FilterError(text, 0, f"more than {MAX_COMPARISONS} comparisons")
    expression = tree.children[0]
    return Filter(_Reading(text, schema).node(expression) if expression else None)


@cache
def _parser() -> Lark:
    return Lark.open("filters.lark", rel_to=__file__, parser="lalr", maybe_placeholders=True)


_PARENTHESES = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|[()]', re.DOTALL)


def _check_limits(text: str) -> None:
    if len(text.encode()) > MAX_LENGTH:
        raise FilterError(text, 0, f"longer than {MAX_LENGTH} bytes")
    if "\0" in text:
        raise FilterError(text, text.index("\0"), "a character that no value contains")
    depth = 0
    for found in _PARENTHESES.finditer(text):
        depth += {"(": 1, ")": -1}.get(found[0], 0)
        if depth > MAX_DEPTH:
            raise FilterError(text, found.start(), f"more than {MAX_DEPTH} levels of parentheses")


_MEANING: Final = {
    "NAME": "a field",
    "KEY": "a key",
    "COMPARATOR": "one of = != < <= > >= :",
    "VALUE": "a value",
    "RPAR": "')'",
}


def _syntax_error(text: str, error: UnexpectedInput) -> FilterError:
    if isinstance(error, UnexpectedToken):
        is_end = error.token.type == "$END"
        position = len(text) if is_end else error.token.start_pos or 0
        found = "the end" if is_end else repr(str(error.token))
        expected = error.accepts or error.expected
    elif isinstance(error, UnexpectedCharacters):
        position = error.pos_in_stream or 0
        found = repr(text[position])
        expected = error.allowed or set()
        if text[position] in "\"'":
            return FilterError(text, position, "a string without its closing quote begins")
    else:
        raise error
    wanted = [words for name, words in _MEANING.items() if name in expected]
    wish = f"expected {' or '.join(wanted) or 'AND, OR or the end'}, "
    return FilterError(text, position, f"{wish}found {found}")


class _Reading:
    """Makes nodes of one filter's tree, checking names and types."""

    def __init__(self, text: str, schema: FilterSchema) -> None:
        self._text = text
        self._schema = schema

    def node(self, tree: Tree[Token] | Token) -> Node:
        assert isinstance(tree, Tree)
        match tree.data:
            case "expression" | "sequence":
                return self._joined(And, tree)
            case "factor":
                return self._joined(Or, tree)
            case "negation":
                inner = self.node(tree.children[0])
                return inner.node if isinstance(inner, Not) else Not(inner)
            case _:
                return self._comparison(tree)

    def _joined(self, kind: type[And] | type[Or], tree: Tree[Token]) -> Node:
        nodes: list[Node] = []
        for child in tree.children:
            node = self.node(child)
            nodes += node.nodes if isinstance(node, kind) else [node]
        return nodes[0] if len(nodes) == 1 else kind(tuple(nodes))

    def _comparison(self, tree: Tree[Token]) -> Node:
        member, sign, value = cast(tuple[Tree[Token], Token, Token], tree.children)
        path, field = self._path(cast(list[Token], member.children))
        pieces = self._pieces(value)
        if field.kind is Kind.STRING_MAP and path.key is None:
            if sign != ":":
                raise self._error(sign, f"{path} is a map: ask for {path}.<key> or {path}:<key>")
            return Present(path if _is_star(pieces) else FieldPath(path.name, "*".join(pieces)))
        if sign == ":" and _is_star(pieces):
            return Present(path)
        node = self._typed(path, field, sign, value, pieces)
        return Not(node) if sign == "!=" else node

    def _path(self, names: list[Token]) -> tuple[FieldPath, Field]:
        first, *rest = names
        field = self._schema.fields.get(first)
        if field is None:
            close = difflib.get_close_matches(first, self._schema.fields, n=1)
            hint = f"did you mean {close[0]!r}?" if close else self._known()
            raise self._error(
                first, f"a {self._schema.resource} has no field {str(first)!r}: {hint}"
            )
        if not rest:
            return FieldPath(str(first)), field
        if field.kind is not Kind.STRING_MAP or len(rest) > 1:
            raise self._error(rest[-1], f"there is nothing below {'.'.join(names[:-1])!r}")
        key = "*".join(self._pieces(rest[0])) if rest[0].type == "STRING" else str(rest[0])
        return FieldPath(str(first), key), field

    def _known(self) -> str:
        return f"there are {', '.join(self._schema.fields)}"

    def _pieces(self, token: Token) -> tuple[str, ...]:
        """Return the value's text, cut at its wildcards."""
        if token.type != "STRING":
            return tuple(token.split("*"))
        pieces = [""]
        for found in re.finditer(r"\\(.)|(\*)|[^\\*]+", token[1:-1], re.DOTALL):
            if found[2]:
                pieces.append("")
            elif found[1] and found[1] not in "\\\"'*":
                raise self._error(token, f"unknown escape {found[0]!r} in the string")
            else:
                pieces[-1] += found[1] or found[0]
        return tuple(pieces)

    def _typed(
        self, path: FieldPath, field: Field, sign: Token, token: Token, pieces: tuple[str, ...]
    ) -> Node:
        is_equality = sign in ("=", "!=", ":")
        operator = cast(Operator, "=" if is_equality else str(sign))
        if field.kind in (Kind.STRING, Kind.STRING_MAP):
            if is_equality and len(pieces) > 1:
                return Like(path, pieces)
            return Comparison(path, operator, "*".join(pieces))
        if field.kind in (Kind.BOOL, Kind.ENUM) and not is_equality:
            raise self._error(sign, f"{path} has no order: use = or !=")
        return Comparison(path, operator, self._value(path, field, token, "*".join(pieces)))

    def _value(self, path: FieldPath, field: Field, token: Token, text: str) -> Value:
        if field.kind is Kind.ENUM:
            if text not in field.names:
                raise self._error(token, f"{path} is one of {', '.join(field.names)}, not {text!r}")
            return str(text)
        value = _READERS[field.kind](text)
        if value is None:
            raise self._error(token, f"{path} is {field.kind.value}, not {text!r}")
        return value

    def _error(self, token: Token, description: str) -> FilterError:
        return FilterError(self._text, token.start_pos or 0, description)


def _is_star(pieces: tuple[str, ...]) -> bool:
    return pieces == ("", "")


def _integer(text: str) -> int | None:
    if not re.fullmatch(r"[+-]?[0-9]{1,19}", text):
        return None
    value = int(text)
    return value if -(2**63) <= value < 2**63 else None


_RFC_3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:(\.\d{1,6})0*)?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


def _moment(text: str) -> datetime | None:
    match = _RFC_3339.fullmatch(text)
    if match is None:
        return None
    date, time, fraction, zone = match.groups(default="")
    try:
        moment = datetime.fromisoformat(f"{date}T{time}{fraction or '.':0<7}{zone.upper()}")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


_READERS: Final[Mapping[Kind, Callable[[str], Value | None]]] = {
    Kind.INT: _integer,
    Kind.BOOL: lambda text: {"true": True, "false": False}.get(text),
    Kind.TIMESTAMP: _moment,
}
