"""JSON (RFC 8259) in which every value knows its line and column.

Stricter than it must be where a value would be lost: a key that stands twice, a number beyond
what a double holds and half a surrogate pair are refused. Bounded in depth, tokens and values.
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from wms_grpc.gateway.model import MAX_DEPTH, MAX_TOKEN, Finding, Position, Refused

__all__ = ["JsonValue", "Lines", "decoded", "parse_json"]

MAX_VALUES: Final = 3_000_000
_MAX_DIGITS: Final = 1_000
"""Of one number, before it is looked at."""

_TOKEN: Final = re.compile(
    r"[ \t\r\n]*+(?:"
    r'(?P<string>"[^"\\\x00-\x1f]*+(?:\\.[^"\\\x00-\x1f]*+)*+")'
    r"|(?P<mark>[{}\[\]:,])"
    r"|(?P<number>-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+)"
    r"|(?P<word>true|false|null)(?![A-Za-z0-9_])"
    r"|(?P<end>\Z)"
    r")"
)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_WORDS: Final[dict[str, bool | None]] = {"true": True, "false": False, "null": None}


@dataclass(slots=True)
class JsonValue:
    """A value and where it begins, in characters from 0."""

    value: dict[str, JsonValue] | list[JsonValue] | str | int | float | bool | None
    offset: int

    def plain(self) -> object:
        """Return the value as Python has it."""
        if isinstance(self.value, dict):
            return {key: value.plain() for key, value in self.value.items()}
        if isinstance(self.value, list):
            return [value.plain() for value in self.value]
        return self.value


class Lines:
    """Positions in a text."""

    def __init__(self, file: str, text: str) -> None:
        self._file = file
        self._text = text
        self._starts: list[int] = []

    def at(self, offset: int) -> Position:
        """Return the position of a character."""
        if not self._starts:
            self._starts = [0, *(found.end() for found in re.finditer("\n", self._text))]
        line = bisect_right(self._starts, offset)
        return Position(self._file, line, offset - self._starts[line - 1] + 1)

    def refuse(self, code: str, message: str, offset: int) -> Refused:
        """Return what is to be raised for what stands there."""
        return Refused(Finding(code, message, self.at(offset), severity="error"))


def decoded(file: str, content: bytes) -> str:
    """Return the text of a file in UTF-8, without a byte order mark. Raises Refused."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8-sig", errors="replace")
        lines = Lines(file, before)
        raise lines.refuse("SYNTAX", "this is no UTF-8", len(before)) from None


def parse_json(text: str, lines: Lines) -> JsonValue:
    """Return the value of a text. Raises Refused."""
    parser = _Parser(text, lines)
    value = parser.value(0)
    parser.finish()
    return value


class _Parser:
    def __init__(self, text: str, lines: Lines) -> None:
        self._text = text
        self._lines = lines
        self._n_values = 0
        self._kind = ""
        self._word = ""
        self._offset = 0
        self._offset_before = 0
        self._end = 0
        self._readers: dict[str, Callable[[int], JsonValue]] = {"{": self._object, "[": self._array}
        self._next()

    def value(self, depth: int) -> JsonValue:
        """Read the value that the current token begins."""
        self._n_values += 1
        if self._n_values > MAX_VALUES:
            raise self._refuse("TOO_LARGE", f"more than {MAX_VALUES} values")
        kind, word, offset = self._kind, self._word, self._offset
        if kind == "mark":
            reader = self._readers.get(word)
            if reader is None:
                raise self._expected("a value")
            if depth >= MAX_DEPTH:
                raise self._refuse("TOO_DEEP", f"more than {MAX_DEPTH} levels")
            self._next()
            return reader(depth + 1)
        if kind == "end":
            raise self._expected("a value")
        scalar = self._scalar(kind, word)
        self._next()
        return JsonValue(scalar, offset)

    def finish(self) -> None:
        """Refuse what stands behind the value."""
        if self._kind != "end":
            raise self._expected("the end of the file")

    def _object(self, depth: int) -> JsonValue:
        begin = self._offset_before
        values: dict[str, JsonValue] = {}
        if self._takes("}"):
            return JsonValue(values, begin)
        while True:
            if self._kind != "string":
                raise self._expected("a name in quotes")
            key = self._string(self._word)
            if key in values:
                raise self._refuse("DUPLICATE_FIELD", f"`{key[:100]}` stands here a second time")
            self._next()
            self._take(":", "a colon")
            values[key] = self.value(depth)
            if self._takes("}"):
                return JsonValue(values, begin)
            self._take(",", "a comma or a closing brace")

    def _array(self, depth: int) -> JsonValue:
        begin = self._offset_before
        values: list[JsonValue] = []
        if self._takes("]"):
            return JsonValue(values, begin)
        while True:
            values.append(self.value(depth))
            if self._takes("]"):
                return JsonValue(values, begin)
            self._take(",", "a comma or a closing bracket")

    def _scalar(self, kind: str, word: str) -> str | int | float | bool | None:
        if kind == "string":
            return self._string(word)
        if kind == "word":
            return _WORDS[word]
        if len(word) > _MAX_DIGITS:
            raise self._refuse("SYNTAX", "a number of more digits than anything has")
        number = float(word)
        if math.isinf(number):
            raise self._refuse("SYNTAX", f"{word[:40]} is larger than numbers are here")
        return int(word) if word.lstrip("-").isdigit() else number

    def _string(self, word: str) -> str:
        if len(word) > MAX_TOKEN:
            raise self._refuse("TOO_LARGE", f"a string of more than {MAX_TOKEN} characters")
        if "\\" not in word:
            return word[1:-1]
        try:
            text: str = json.loads(word)
        except ValueError:
            raise self._refuse("SYNTAX", "a backslash before what it cannot escape") from None
        if _SURROGATE.search(text):
            raise self._refuse("SYNTAX", "half of a surrogate pair")
        return text

    def _takes(self, mark: str) -> bool:
        if self._kind == "mark" and self._word == mark:
            self._next()
            return True
        return False

    def _take(self, mark: str, words: str) -> None:
        if not self._takes(mark):
            raise self._expected(words)

    def _next(self) -> None:
        self._offset_before = self._offset
        found = _TOKEN.match(self._text, self._end)
        if found is None:
            rest = re.compile(r"[ \t\r\n]*").match(self._text, self._end)
            self._offset = rest.end() if rest else self._end
            raise self._refuse("SYNTAX", self._what_is_wrong())
        self._kind = found.lastgroup or ""
        self._word = found[self._kind]
        self._offset = found.start(self._kind)
        self._end = found.end()

    def _what_is_wrong(self) -> str:
        if self._text[self._offset] == '"':
            return "a string without its end, or with a control character in it"
        return f"nothing in JSON begins with {self._text[self._offset]!r}"

    def _expected(self, words: str) -> Refused:
        here = "the file ends" if self._kind == "end" else f"there is `{self._word[:40]}`"
        return self._refuse("SYNTAX", f"{here} where {words} should be")

    def _refuse(self, code: str, message: str) -> Refused:
        return self._lines.refuse(code, message, self._offset)
