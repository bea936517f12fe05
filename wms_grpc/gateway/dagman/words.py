"""The words of a line of a DAG file.

Blanks separate them; quotes keep blanks together, and a backslash within quotes keeps the next
character. Whatever is wrong with a word refuses the file at it.
"""

from __future__ import annotations

import re
from typing import Final, NoReturn

from wms_grpc.gateway.dagman.lines import BLANKS, Line
from wms_grpc.gateway.dagman.names import ALL_NODES, read_name
from wms_grpc.gateway.dagman.text import Findings, refuse
from wms_grpc.gateway.model import MAX_TOKEN, Position

__all__ = ["Words"]

_GAP = re.compile(r"[ \t\r\v\f]*")
_WORD = re.compile(r"""[ \t]*((?:[^ \t"']+|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')+)""")
_SIMPLE = re.compile(r"""[ \t]*([^ \t"']+)(?=[ \t]|$)""")
_QUOTED = re.compile(r""""((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'""")
_KEY = re.compile(r"""[ \t]*([^ \t="']*)[ \t]*""")
_ESCAPED = re.compile(r"\\(.)")
_INTEGER = re.compile(r"[+-]?[0-9]{1,12}")
_MAX_INT: Final = 2**31 - 1


class Words:
    """The words of a line, one after the other; `at` is the offset of the last one."""

    def __init__(self, line: Line, findings: Findings, start: int = 0) -> None:
        self.at = start
        self._line = line
        self._findings = findings
        self._next = start

    def word(self) -> str:
        """Return the next word without its quotes; an empty string where there is none."""
        text, start = self._line.text, self._next
        simple = _SIMPLE.match(text, start)
        if simple is not None and simple.end() - start < MAX_TOKEN:
            self.at, self._next = simple.span(1)
            return simple[1]
        match = _WORD.match(text, start)
        if match is None:
            rest = text[start:].lstrip(BLANKS)
            self.at = len(text) - len(rest)
            if rest:
                self.fail("a quote that is not closed")
            return ""
        self.at, self._next = match.span(1)
        if self._next < len(text) and text[self._next] not in BLANKS:
            self.at = self._next
            self.fail("a quote that is not closed")
        return self._bounded(_without_quotes(match[1]))

    def required(self, what: str) -> str:
        """Return the next word, which there must be."""
        word = self.word()
        if not word:
            self.fail(f"{what} is missing")
        return word

    def node(self) -> str:
        """Return the name of a node, or ALL_NODES."""
        word = self.required("the node's name")
        return ALL_NODES if word.upper() == ALL_NODES else read_name(word)

    def number(self, what: str, least: int = -_MAX_INT, most: int = _MAX_INT) -> int:
        """Return the next word as a whole number; what follows its digits is no error (`3x`)."""
        return self.measure(what, least, most, "")[0]

    def measure(self, what: str, least: int, most: int, unit: str) -> tuple[int, bool]:
        """Return the next word as a whole number, and whether the unit follows it."""
        word = self.required(what)
        match = _INTEGER.match(word)
        value = int(match[0]) if match else None
        if match is None or value is None or not least <= value <= most:
            above = f" from {least}" if least > -_MAX_INT else ""
            below = f" to {most}" if most < _MAX_INT else ""
            self.fail(f"{what} is a whole number{above}{below}, not {word[:40]!r}")
        rest = word[match.end() :]
        if rest and rest != unit:
            message = f"{what}, {word[:40]!r}, is read as {value}, as DAGMan does"
            self.report("INEXACT_NUMBER", message)
        return value, bool(unit) and rest.endswith(unit)

    def is_at_end(self) -> bool:
        """Whether there is no further word."""
        match = _GAP.match(self._line.text, self._next)
        return match is not None and match.end() == len(self._line.text)

    def peek(self) -> str:
        """Return the next word, which stays the next."""
        start = self._next
        word = self.word()
        self._next = start
        return word

    def rest(self) -> str:
        """Return all that is left, as it stands."""
        text = self._line.text[self._next :]
        rest = text.lstrip(BLANKS)
        self.at = self._next + len(text) - len(rest)
        self._next = len(self._line.text)
        return rest

    def is_key(self) -> bool:
        """Whether what follows is a key with its `=`, and not a word by itself."""
        match = _KEY.match(self._line.text, self._next)
        return match is not None and self._line.text[match.end() : match.end() + 1] == "="

    def pair(self) -> tuple[str, str]:
        """Return the next key and its value."""
        text = self._line.text
        match = _KEY.match(text, self._next)
        end = match.end() if match else self._next
        self.at = match.start(1) if match else self._next
        key = match[1] if match else ""
        if text[end : end + 1] in ('"', "'"):
            self.fail(f"the key {key!r} has a quotation mark")
        if text[end : end + 1] != "=":
            self.fail(f"{key!r} is no key=value")
        if not key:
            self.fail("a value without a key")
        self._next = end + 1
        if text[self._next : self._next + 1] == "=":
            self.fail(f"{key!r} has two `=`")
        at = self.at
        if self.is_at_end():
            self.fail(f"{key!r} has no value")
        value = self.word()
        self.at = at
        return key, value

    def position(self) -> Position:
        """Return where the last word stands."""
        return self._line.position(self.at)

    def report(self, code: str, message: str) -> None:
        """Add a finding at the last word."""
        self._findings.add(code, message, self.position())

    def fail(self, reason: str, code: str = "SYNTAX") -> NoReturn:
        """Refuse the file at the last word."""
        refuse(code, reason, self.position())

    def end(self) -> None:
        """Refuse the file if there is another word."""
        if word := self.word():
            self.fail(f"nothing is expected here, and there is {_shown(word)}")

    def _bounded(self, word: str) -> str:
        if len(word) > MAX_TOKEN:
            self.fail(f"a word of more than {MAX_TOKEN} characters", "TOO_LARGE")
        return word


def _without_quotes(word: str) -> str:
    if '"' not in word and "'" not in word:
        return word
    return _QUOTED.sub(lambda m: _ESCAPED.sub(r"\1", m[1] if m[1] is not None else m[2]), word)


def _shown(word: str) -> str:
    return repr(word if len(word) <= 40 else word[:40] + "…")
