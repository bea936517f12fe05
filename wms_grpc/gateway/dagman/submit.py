"""A submit description, in a file or between brackets, into its statements.

What is wrong in one is a finding of severity error, not a refusal: DAGMan too finds it only when
the node is submitted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from wms_grpc.gateway.dagman.lines import BLANKS, Line, logical_lines
from wms_grpc.gateway.dagman.text import Findings, decoded
from wms_grpc.gateway.model import MAX_TOKEN, Position

__all__ = [
    "Assignment",
    "Queue",
    "Statement",
    "SubmitDescription",
    "Test",
    "assignment",
    "lookup_name",
    "read_description",
]

_ASSIGNMENT = re.compile(r"(\+?[A-Za-z_][\w.]*)\s*=\s*(.*)", re.DOTALL)
_BLOCK = re.compile(r"(\+?[A-Za-z_][\w.]*)\s*@=\s*(\S+)")
_TEST = re.compile(r"(if|elif|else|endif)\b\s*(.*)", re.IGNORECASE | re.DOTALL)
_QUEUE = re.compile(r"queue\b(?!\s*@?=)\s*(.*)", re.IGNORECASE | re.DOTALL)
_NO_KEY = re.compile(r"queue\s*@?=", re.IGNORECASE)
_OTHER = re.compile(r"(include|use|error|warning)\b\s*(?!\s*[=@])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Assignment:
    """`key = value`; `name` is the key as it is looked up, `is_own` whether it names itself."""

    key: str
    value: str
    position: Position
    name: str
    is_own: bool


def assignment(key: str, value: str, position: Position) -> Assignment:
    """Return the assignment."""
    name = lookup_name(key)
    value = value.strip(BLANKS)
    return Assignment(key, value, position, name, "$" in value and f"$({name}" in value.lower())


def lookup_name(key: str) -> str:
    """Return the name by which a key is looked up: in lower case, `+Foo` as `my.foo`."""
    name = key.lower()
    return "my." + name[1:] if name.startswith("+") else name


@dataclass(frozen=True, slots=True)
class Test:
    """The beginning or the end of a conditional part."""

    word: Literal["if", "elif", "else", "endif"]
    condition: str
    position: Position


@dataclass(frozen=True, slots=True)
class Queue:
    """`queue`, with all that follows."""

    said: str
    position: Position


Statement = Assignment | Test | Queue


@dataclass(frozen=True, slots=True, eq=False)
class SubmitDescription:
    """The statements up to the queue statement, and that one, which may be missing.

    `values`: what they come to where there are no conditions and nothing names itself, so that they
    need not be taken one by one for each node. `is_constant`: nor do they have macros.
    """

    statements: tuple[Statement, ...]
    position: Position
    values: Mapping[str, Assignment] | None
    queue: Queue | None
    is_constant: bool = False


def read_description(
    source: bytes | Iterable[Line], file: str, position: Position, findings: Findings
) -> SubmitDescription:
    """Return the statements of a file's bytes, or of the lines between brackets."""
    if isinstance(source, bytes):
        text = decoded(file, source, findings)
        lines = logical_lines(file, text, comments=("#",), joint="", over_blanks=False)
    else:
        lines = iter(source)
    statements = tuple(_statements(lines, findings))
    assignments = [each for each in statements if isinstance(each, Assignment)]
    queue = next((each for each in statements if isinstance(each, Queue)), None)
    is_plain = len(assignments) + (queue is not None) == len(statements)
    values = {each.name: each for each in assignments}
    if not is_plain or any(each.is_own for each in assignments):
        return SubmitDescription(statements, position, None, queue)
    texts = [each.value for each in assignments] + ([queue.said] if queue is not None else [])
    is_constant = not any("$" in text for text in texts)
    return SubmitDescription(statements, position, values, queue, is_constant)


def _statements(lines: Iterator[Line], findings: Findings) -> Iterator[Statement]:
    has_queue = False
    for line in lines:
        at = line.position()
        if has_queue:
            message = "there is more behind the queue statement: one node is one cluster"
            findings.add("SECOND_QUEUE", message, at, severity="error")
            return
        if len(line.text) > MAX_TOKEN:
            message = f"a line of more than {MAX_TOKEN} characters"
            findings.add("TOO_LARGE", message, at, severity="error")
        elif match := _TEST.fullmatch(line.text):
            yield Test(_test_word(match[1].lower()), match[2], at)
        elif match := _QUEUE.fullmatch(line.text):
            has_queue = True
            yield Queue(_items(match[1], lines), at)
        elif _NO_KEY.match(line.text):
            findings.add("SUBMIT_SYNTAX", "queue is no key", at, severity="error")
        elif match := _BLOCK.fullmatch(line.text):
            yield assignment(match[1], _block(match[2], lines, at, findings), at)
        elif match := _OTHER.match(line.text):
            _report_other(match[1].lower(), line, findings)
        elif match := _ASSIGNMENT.fullmatch(line.text):
            yield assignment(match[1], match[2], at)
        else:
            message = f"{line.text[:40]!r} is nothing that a submit description may say"
            findings.add("SUBMIT_SYNTAX", message, at, severity="error")


def _test_word(word: str) -> Literal["if", "elif", "else", "endif"]:
    match word:
        case "if" | "elif" | "else":
            return word
        case _:
            return "endif"


def _items(said: str, lines: Iterator[Line]) -> str:
    """Return what `queue` says, with the lines of a list in brackets that it opens."""
    held = [said]
    if "(" in said and ")" not in said[said.index("(") :]:
        for line in lines:
            held.append(line.text)
            if line.text.startswith(")"):
                break
    return "\n".join(held)


def _block(word: str, lines: Iterator[Line], at: Position, findings: Findings) -> str:
    held: list[str] = []
    for line in lines:
        if line.text == "@" + word:
            return "\n".join(held)
        held.append(line.text)
    findings.add("SUBMIT_SYNTAX", f"the value is not ended by @{word}", at, severity="error")
    return "\n".join(held)


def _report_other(word: str, line: Line, findings: Findings) -> None:
    what = {
        "include": "what a submit description includes is not read",
        "use": "a template of the access point is not known here",
        "error": "the description stops the submission here",
        "warning": "a warning of the description",
    }[word]
    code = "NEEDS_ACCESS_POINT" if word in ("use", "include") else "SUBMIT_MESSAGE"
    message = f"{what}: {line.text[:80]}"
    findings.add(
        code, message, line.position(), severity="warning" if word == "warning" else "error"
    )
