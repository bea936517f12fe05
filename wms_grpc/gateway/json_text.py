"""JSON with the place of every value and name, for errors that say where.

Strict (RFC 8259), and narrower: no name twice in an object, no lone surrogates, no numbers beyond
what a double or 64 bits hold, at most `MAX_DEPTH` deep and `MAX_TEXT` characters a text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from wms_grpc.gateway.model import MAX_DEPTH, Refused
from wms_grpc.gateway.sources import Source

__all__ = ["Json", "Member", "parse_json", "plain"]

MAX_TEXT: Final = 128 * 1024
"""As long as the longest text of the contract, the arguments of a task."""
_MAX_TOKENS: Final = 4_000_000

_TOKEN: Final = re.compile(
    r"""[ \t\n\r]*+(?:
    (?P<TEXT>"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+")
    |(?P<NUMBER>-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?(?![0-9A-Za-z_.]))
    |(?P<WORD>true|false|null)(?![A-Za-z0-9_])
    |(?P<SIGN>[][{},:])
    |(?P<END>\Z))""",
    re.VERBOSE,
)
_WORDS: Final[dict[str, bool | None]] = {"true": True, "false": False, "null": None}


@dataclass(slots=True)
class Json:
    """A value and where it starts."""

    value: bool | int | float | str | list[Json] | dict[str, Member] | None
    start: int


@dataclass(slots=True)
class Member:
    """A member of an object; `start` is where its name stands."""

    value: Json
    start: int


def parse_json(source: Source) -> Json:
    """Return the document. Raises Refused where it is none."""
    reading = _Reading(source)
    value = reading.value(0)
    kind, found, start = reading.next()
    if kind != "END":
        raise source.refused("SYNTAX", f"expected the end of the file, found {found}", start)
    return value


def plain(value: Json) -> object:
    """Return the value without its places."""
    inner = value.value
    if isinstance(inner, dict):
        return {name: plain(member.value) for name, member in inner.items()}
    if isinstance(inner, list):
        return [plain(item) for item in inner]
    return inner


class _Reading:
    def __init__(self, source: Source) -> None:
        self._source = source
        self._tokens = _tokens(source)
        self.next: Callable[[], tuple[str, str, int]] = self._tokens.__next__

    def value(self, depth: int) -> Json:
        """Read the next value."""
        kind, found, start = self.next()
        return self._from(kind, found, start, depth)

    def _from(self, kind: str, found: str, start: int, depth: int) -> Json:
        if kind == "TEXT":
            return Json(_text(self._source, found, start), start)
        if kind == "NUMBER":
            return Json(_number(self._source, found, start), start)
        if kind == "WORD":
            return Json(_WORDS[found], start)
        if depth >= MAX_DEPTH and found in ("{", "["):
            raise self._source.refused("TOO_DEEP", f"nested deeper than {MAX_DEPTH}", start)
        if found == "{":
            return Json(self._object(depth), start)
        if found == "[":
            return Json(self._array(depth), start)
        raise self._unexpected("a value", kind, found, start)

    def _object(self, depth: int) -> dict[str, Member]:
        members: dict[str, Member] = {}
        kind, found, start = self.next()
        if found == "}" and kind == "SIGN":
            return members
        while True:
            if kind != "TEXT":
                raise self._unexpected("a name in double quotes", kind, found, start)
            name = _text(self._source, found, start)
            if name in members:
                raise self._source.refused("DUPLICATE_FIELD", f"{name} is given twice", start, name)
            self._expect(":")
            members[name] = Member(self.value(depth + 1), start)
            kind, found, end = self.next()
            if kind == "SIGN" and found == "}":
                return members
            if kind != "SIGN" or found != ",":
                raise self._unexpected("',' or '}'", kind, found, end)
            kind, found, start = self.next()

    def _array(self, depth: int) -> list[Json]:
        items: list[Json] = []
        kind, found, start = self.next()
        if kind == "SIGN" and found == "]":
            return items
        while True:
            items.append(self._from(kind, found, start, depth + 1))
            kind, found, start = self.next()
            if kind == "SIGN" and found == "]":
                return items
            if kind != "SIGN" or found != ",":
                raise self._unexpected("',' or ']'", kind, found, start)
            kind, found, start = self.next()

    def _expect(self, sign: str) -> None:
        kind, found, start = self.next()
        if kind != "SIGN" or found != sign:
            raise self._unexpected(f"'{sign}'", kind, found, start)

    def _unexpected(self, wish: str, kind: str, found: str, start: int) -> Refused:
        what = "the end of the file" if kind == "END" else found[:40]
        return self._source.refused("SYNTAX", f"expected {wish}, found {what}", start)


def _tokens(source: Source) -> Iterator[tuple[str, str, int]]:
    text, at = source.text, 0
    for _ in range(_MAX_TOKENS):
        found = _TOKEN.match(text, at)
        kind = found.lastgroup if found else None
        if found is None or kind is None:
            raise _unknown(source, at)
        at = found.end()
        yield kind, found[kind], found.start(kind)
        if kind == "END":
            # Whoever asks again is told the same.
            at = len(text)
    raise source.refused("TOO_LARGE", f"more than {_MAX_TOKENS} tokens", at)


def _unknown(source: Source, at: int) -> Refused:
    text = source.text
    while text[at] in " \t\n\r":
        at += 1
    if text[at] == '"':
        message = "a text that is never closed, or has an escape or a character that JSON has not"
    elif text.startswith(("//", "/*", "#"), at):
        message = "JSON has no comments"
    else:
        message = f"{text[at]!r} means nothing here"
    return source.refused("SYNTAX", message, at)


def _text(source: Source, token: str, start: int) -> str:
    text = token[1:-1]
    if "\\" in text:
        text = json.loads(token)
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            raise source.refused("BAD_CHARACTER", "a character that no text may hold", start)
    if len(text) > MAX_TEXT:
        raise source.refused("TOO_LARGE", f"a text longer than {MAX_TEXT} characters", start)
    return text


def _number(source: Source, token: str, start: int) -> int | float:
    is_integer = not any(character in ".eE" for character in token)
    if is_integer and len(token) <= 20:
        number = int(token)
        if -(2**63) <= number < 2**64:
            return number
    value = float(token) if len(token) <= 400 else float("inf")
    if is_integer or value in (float("inf"), float("-inf")):
        raise source.refused("OUT_OF_RANGE", f"{token[:40]} is too large a number", start)
    return value
