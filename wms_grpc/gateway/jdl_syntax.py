"""Job descriptions as text: ClassAds, with the place of everything that is said.

Beyond ClassAds, as gLite's users write them: `#` comments, and attributes without brackets around
them. Nothing is evaluated: what is neither a text, a number, a name, a path, a list nor a record is
an expression, kept as it is written.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final, cast

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedToken

from wms_grpc.gateway.jdl_quoting import unescaped
from wms_grpc.gateway.jdl_tokens import ITEM, PLAIN, JdlLexer, without_comments
from wms_grpc.gateway.model import MAX_EXPRESSION, MAX_TOKEN, Refused
from wms_grpc.gateway.sources import Source

__all__ = [
    "Attribute",
    "Expression",
    "List",
    "Number",
    "Path",
    "Record",
    "Text",
    "Value",
    "as_written",
    "parse_jdl",
]


@dataclass(slots=True)
class Value:
    """Something that is said, and where: offsets into its source."""

    start: int
    end: int


@dataclass(slots=True)
class Text(Value):
    """A text, unescaped."""

    text: str


@dataclass(slots=True)
class Number(Value):
    """An integer or a real number."""

    number: int | float


@dataclass(slots=True)
class Path(Value):
    """A name, or names and numbers of list items: `root.nodes.a.description.OutputSandbox[0]`."""

    parts: tuple[str | int, ...]


@dataclass(slots=True)
class Expression(Value):
    """Anything else."""


@dataclass(slots=True)
class List(Value):
    """A list, `{ … }`."""

    items: list[Value]


@dataclass(slots=True)
class Attribute:
    """A name and what is said of it; `start` is where the name stands."""

    name: str
    value: Value
    start: int


@dataclass(slots=True)
class Record(Value):
    """A record, `[ … ]`, in the order of the file; names may repeat."""

    attributes: list[Attribute]


def parse_jdl(source: Source) -> Record:
    """Return what the file says. Raises Refused where it is no job description."""
    try:
        return _parse(source)
    except UnexpectedToken as error:
        raise _syntax_error(source, error) from None
    except _Bad as bad:
        raise source.refused(bad.code, bad.message, bad.start) from None


def as_written(source: Source, value: Value) -> str:
    """Return the value as it is written, blanks and comments made one blank each."""
    return without_comments(source.text[value.start : value.end])


class _Bad(Exception):
    def __init__(self, code: str, message: str, start: int) -> None:
        self.code, self.message, self.start = code, message, start


class _Values(Transformer[Token, Record]):
    """Makes values while the parser reads, so that no tree is ever built."""

    def start(self, children: list[Record | Token]) -> Record:
        first = children[0]
        assert isinstance(first, Record)
        return first

    def body(self, children: list[Attribute | list[Attribute] | Token]) -> Record:
        attributes: list[Attribute] = []
        for child in children:
            if isinstance(child, Attribute):
                attributes.append(child)
            elif isinstance(child, list):
                attributes += child
        return Record(0, 0, attributes)

    def record(self, children: list[Token | Record]) -> Record:
        opening, body, closing = cast(tuple[Token, Record, Token], tuple(children))
        body.start, body.end = _start(opening), _end(closing)
        return body

    def attribute(self, children: list[Token | Value]) -> Attribute:
        name, _, value = cast(tuple[Token, Token, Value], tuple(children))
        return Attribute(_name(name), value, _start(name))

    def opened(self, children: list[Token | Record]) -> Attribute:
        opening, body, closing = cast(tuple[Token, Record, Token], tuple(children))
        body.start, body.end = _end(opening) - 1, _end(closing)
        return Attribute(opening.split("=")[0].rstrip(), body, _start(opening))

    def plain(self, children: list[Token]) -> list[Attribute]:
        start, attributes = _start(children[0]), list[Attribute]()
        for found in PLAIN.finditer(children[0]):
            at, end = start + found.start(), start + found.end()
            value = (
                Number(start + found.start(3), end, int(found[3]))
                if found[3]
                else _text(found[2][1:-1], start + found.start(2), end)
            )
            attributes.append(Attribute(found[1], value, at))
        return attributes

    def flat(self, children: list[Token]) -> Value:
        start, items = _start(children[0]), list[Value]()
        for found in ITEM.finditer(children[0]):
            at, end = start + found.start(), start + found.end()
            if found[1]:
                items.append(_text(found[1][1:-1], at, end))
            else:
                words, _, index = found[2].rstrip("]").partition("[")
                parts = (*words.split("."), int(index)) if index else tuple(words.split("."))
                items.append(_checked(Path(at, end, parts)))
        return List(start, _end(children[0]), items)

    def text(self, children: list[Token]) -> Value:
        inside = "".join([token[1:-1] for token in children])
        return _text(inside, _start(children[0]), _end(children[-1]))

    def number(self, children: list[Token]) -> Value:
        token = children[0]
        number = _number(token)
        start, end = _start(token), _end(token)
        return Expression(start, end) if number is None else Number(start, end, number)

    def name(self, children: list[Token]) -> Value:
        token = children[0]
        return Path(_start(token), _end(token), (_name(token),))

    def member(self, children: list[Value | Token]) -> Value:
        before, _, name = cast(tuple[Value, Token, Token], tuple(children))
        if isinstance(before, Path):
            return _checked(Path(before.start, _end(name), (*before.parts, _name(name))))
        return self.compound(children)

    def item(self, children: list[Value | Token]) -> Value:
        before, _, index, closing = cast(tuple[Value, Token, Value, Token], tuple(children))
        is_index = isinstance(index, Number) and isinstance(index.number, int)
        if isinstance(before, Path) and is_index:
            number = cast(int, cast(Number, index).number)
            return _checked(Path(before.start, _end(closing), (*before.parts, number)))
        return self.compound(children)

    def signed(self, children: list[Token | Value]) -> Value:
        sign, value = cast(tuple[Token, Value], tuple(children))
        if isinstance(value, Number) and sign == "-":
            return Number(_start(sign), value.end, -value.number)
        return self.compound(children)

    def compound(self, children: list[Value | Token]) -> Value:
        return _checked(Expression(_start(children[0]), _end(children[-1])))

    def list(self, children: list[Value | Token]) -> Value:
        items = [child for child in children if isinstance(child, Value)]
        return List(_start(children[0]), _end(children[-1]), items)


def _text(inside: str, start: int, end: int) -> Text:
    if len(inside) > MAX_TOKEN:
        raise _Bad("TOO_LARGE", f"a text longer than {MAX_TOKEN} bytes", start)
    text = unescaped(inside)
    if "\0" in text:
        raise _Bad("BAD_CHARACTER", "a NUL character in a text", start)
    return Text(start, end, text)


def _checked(value: Value) -> Value:
    if value.end - value.start > MAX_EXPRESSION:
        message = f"an expression longer than {MAX_EXPRESSION} bytes"
        raise _Bad("TOO_LARGE", message, value.start)
    return value


def _start(part: Value | Token) -> int:
    return part.start if isinstance(part, Value) else cast(int, part.start_pos)


def _end(part: Value | Token) -> int:
    return part.end if isinstance(part, Value) else cast(int, part.end_pos)


def _name(token: Token) -> str:
    name = unescaped(token[1:-1]) if token.type == "QUOTED" else str(token)
    if "\0" in name or not name:
        raise _Bad("BAD_NAME", "a name of no or of NUL characters", _start(token))
    return name


def _number(token: Token) -> int | float | None:
    # A unit (10K) and what no 64 bits hold are kept as they are written.
    if len(token) > 24 or token[-1] in "bBkKmMgGtT":
        return int(token, 16) if token[:2] in ("0x", "0X") and len(token) < 18 else None
    if token[:2] in ("0x", "0X"):
        return int(token, 16)
    if token.isdigit():
        return int(token, 8) if re.fullmatch(r"0[0-7]+", token) else int(token)
    return float(token)


@cache
def _parse_function() -> Callable[[Source], Record]:
    parser = Lark.open(
        "jdl.lark",
        rel_to=__file__,
        parser="lalr",
        lexer=JdlLexer,
        transformer=_Values(),
        keep_all_tokens=True,
    )
    return cast(Callable[[Source], Record], parser.parse)


def _parse(source: Source) -> Record:
    return _parse_function()(source)


_MEANING: Final = {"SEMI": "';'", "EQUAL": "'='", "RSQB": "']'", "RBRACE": "'}'", "RPAR": "')'"}


def _syntax_error(source: Source, error: UnexpectedToken) -> Refused:
    expected = error.accepts or error.expected
    wanted = " or ".join(sorted(_MEANING[kind] for kind in expected if kind in _MEANING))
    wish = (
        f"expected {wanted}, " if wanted else "expected a value, " if "STRING" in expected else ""
    )
    if error.token.type in ("EQUAL", "OPEN", "PLAIN") and "RBRACE" in expected:
        message = f"{wish}found {error.token[:40]}: names with values stand in a record, [ … ]"
        return source.refused("SYNTAX", message, _start(error.token))
    if error.token.type != "$END":
        found = error.token[:40] + ("…" if len(error.token) > 40 else "")
        return source.refused("SYNTAX", f"{wish}found {found}", _start(error.token))
    at = max(len(source.text.rstrip()) - 1, 0)
    open_at = JdlLexer.never_closed(source)
    if open_at is not None:
        place = source.position(open_at)
        opening = source.text[open_at]
        wish = f"the {opening} of line {place.line}, column {place.column} is not closed: "
    return source.refused("SYNTAX", f"{wish}found the end of the file", at)
