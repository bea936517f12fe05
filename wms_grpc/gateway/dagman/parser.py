"""A DAG file's bytes into its commands, by the grammar of HTCondor 25.14.

Raises Refused at the word that is wrong; nothing is guessed. Numbers are read as DAGMan reads them
(`3x` is 3), with a finding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from wms_grpc.gateway.dagman.commands import (
    Command,
    Description,
    Include,
    NodeDefinition,
    NodeKind,
    Splice,
)
from wms_grpc.gateway.dagman.lines import Line, logical_lines
from wms_grpc.gateway.dagman.modifiers import MODIFIERS
from wms_grpc.gateway.dagman.names import RESERVED, read_name
from wms_grpc.gateway.dagman.text import Findings, decoded, refuse
from wms_grpc.gateway.dagman.words import Words
from wms_grpc.gateway.model import Position

__all__ = ["KEYWORDS", "parse"]

_NODES: Final[dict[str, NodeKind]] = {
    "JOB": "JOB",
    "FINAL": "FINAL",
    "SERVICE": "SERVICE",
    "PROVISIONER": "PROVISIONER",
    "SUBDAG": "SUBDAG",
}
KEYWORDS: Final = frozenset({*MODIFIERS, *_NODES, "SPLICE", "INCLUDE", "SUBMIT_DESCRIPTION"})
"""All commands, with `_` for `-`."""


def parse(file: str, content: bytes, findings: Findings) -> tuple[Command, ...]:
    """Return the commands of a DAG file."""
    text = decoded(file, content, findings)
    lines = logical_lines(file, text, comments=("#", "//"), joint=" ", over_blanks=True)
    return tuple(_Parser(lines, findings).commands())


class _Parser:
    def __init__(self, lines: Iterator[Line], findings: Findings) -> None:
        self._lines = lines
        self._findings = findings

    def commands(self) -> Iterator[Command]:
        for line in self._lines:
            words = Words(line, self._findings)
            yield self._command(words, line.position())

    def _command(self, words: Words, at: Position) -> Command:
        word = words.word()
        keyword = word.upper().replace("-", "_")
        if keyword in _NODES:
            return self._node(_NODES[keyword], words, at)
        if keyword == "SPLICE":
            return _splice(words, at)
        if keyword == "INCLUDE":
            return _include(words, at)
        if keyword == "SUBMIT_DESCRIPTION":
            return self._description(words, at)
        if keyword not in MODIFIERS:
            words.fail(_unknown(word), "UNKNOWN_COMMAND")
        return MODIFIERS[keyword](words, at)

    def _description(self, words: Words, at: Position) -> Description:
        name = words.required("a name for the description")
        inline = self._inline(words, words.required("a description"), at)
        if inline is None:
            words.fail("a submit description stands within { and }, or @=word and @word")
        if after := inline[1].rest():
            self._ignored(after, inline[1])
        return Description(name, inline[0], at)

    def _node(self, kind: NodeKind, words: Words, at: Position) -> NodeDefinition:
        if kind == "SUBDAG" and words.word().upper() != "EXTERNAL":
            words.fail("SUBDAG without EXTERNAL")
        word = words.required("the node's name")
        if word.upper() in RESERVED:
            words.fail(f"{word} is a reserved word, not a name", "RESERVED_NAME")
        if "+" in word:
            words.fail(f"the node's name {word} has a +, which is for splices", "RESERVED_NAME")
        description = words.required("the node's submit description")
        inline = None if kind == "SUBDAG" else self._inline(words, description, at)
        lines, words = inline or (None, words)
        folder, is_noop, is_done = "", False, False
        while option := words.word():
            if option.upper() == "NOOP":
                is_noop = True
            elif option.upper() == "DONE":
                is_done = True
            elif option.upper() == "DIR":
                folder = words.required("the folder of DIR")
            else:
                words.fail(f"{option!r} is not DIR, NOOP or DONE")
        name = read_name(word)
        said = "" if inline else description
        return NodeDefinition(kind, name, said, at, lines, folder, is_noop, is_done)

    def _inline(
        self, words: Words, opening: str, at: Position
    ) -> tuple[tuple[Line, ...], Words] | None:
        """Return the lines of a description that begins here, and what follows its end."""
        if opening.startswith("{"):
            closing = "}"
        elif opening.startswith("@="):
            closing = "@" + opening[2:]
        else:
            return None
        if closing == "@":
            words.fail("@= without the word that ends the description")
        if after := (opening[1:] if closing == "}" else "") + words.rest():
            self._ignored(after, words)
        held: list[Line] = []
        for line in self._lines:
            if line.text == closing or line.text.startswith((closing + " ", closing + "\t")):
                return tuple(held), Words(line, self._findings, len(closing))
            held.append(line)
        refuse("SYNTAX", f"the description that begins here is not ended by {closing}", at)

    def _ignored(self, text: str, words: Words) -> None:
        message = f"{text[:40]!r} stands beside the bracket of a description, and is ignored"
        words.report("IGNORED_TEXT", message)


def _unknown(keyword: str) -> str:
    if keyword.upper() == "DATA":
        return "DATA nodes went with Stork; HTCondor has no such command any more"
    return f"{keyword[:40]!r} is no command of DAGMan"


def _splice(words: Words, at: Position) -> Splice:
    name = read_name(words.required("the splice's name"))
    file = words.required("the splice's file")
    folder = ""
    if option := words.word():
        if option.upper() != "DIR":
            words.fail(f"{option!r} is not DIR")
        folder = words.required("the folder of DIR")
    words.end()
    return Splice(name, file, folder, at)


def _include(words: Words, at: Position) -> Include:
    file = words.required("the file")
    words.end()
    return Include(file, at)
