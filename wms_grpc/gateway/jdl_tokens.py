"""The tokens of a job description, within their bounds.

A lexer of one's own instead of lark's: it alone knows, while it reads, how deep the file is nested
and how much there is of it, and refuses before the parser has to keep it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from lark import Token
from lark.lexer import Lexer

from wms_grpc.gateway.model import MAX_DEPTH, MAX_TOKEN
from wms_grpc.gateway.sources import Source

__all__ = ["ITEM", "PLAIN", "JdlLexer", "without_comments"]

_MAX_TOKENS: Final = 2_500_000
_MAX_RUN: Final = 1_000
"""Of texts side by side, which are one, or of signs before a value."""

_IGNORED: Final = r"[ \t\r\n\f\v]++|//[^\n]*+|\#[^\n]*+|/\*(?:[^*]|\*(?!/))*+\*/"
_STRING: Final = r'"[^"\\]*+(?:\\[\s\S][^"\\]*+)*+"'
_QUOTED: Final = r"'[^'\\]*+(?:\\[\s\S][^'\\]*+)*+'"
_WORD: Final = r"(?![iI][sS](?:[nN][tT])?(?![A-Za-z0-9_]))[A-Za-z_][A-Za-z0-9_]*+"
_PATH: Final = rf"{_WORD}(?:\.{_WORD})*+(?:\[[0-9]{{1,9}}\])?+"
_BLANK: Final = r"[ \t\r\n]*+"
_ITEM: Final = rf"(?:{_STRING}|{_PATH})"

_PLAIN: Final = rf"{_WORD}{_BLANK}={_BLANK}(?:{_STRING}|0|[1-9][0-9]{{0,17}}+)(?={_BLANK}[;\]])"

PLAIN: Final = re.compile(rf"({_WORD}){_BLANK}={_BLANK}(?:({_STRING})|([0-9]++))")
"""An attribute that is one text or one number. Most of a file is of them: a run is one token."""

ITEM: Final = re.compile(rf"({_STRING})|({_PATH})")
"""An item of a flat list: a text, or a path."""

_TOKEN: Final = re.compile(
    rf"""{_BLANK}(?:(?P<IGNORED>{_IGNORED})
    |(?P<PLAIN>{_PLAIN}(?:{_BLANK};{_BLANK}{_PLAIN})*+)
    |(?P<OPEN>{_WORD}{_BLANK}={_BLANK}\[)
    |(?P<FLAT>\{{{_BLANK}{_ITEM}(?:{_BLANK},{_BLANK}{_ITEM})*+{_BLANK}\}})
    |(?P<STRING>{_STRING})
    |(?P<QUOTED>{_QUOTED})
    |(?P<NUMBER>(?:0[xX][0-9a-fA-F]++|(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?
        [bBkKmMgGtT]?)(?![A-Za-z0-9_]))
    |(?P<IS>[iI][sS](?:[nN][tT])?(?![A-Za-z0-9_]))
    |(?P<NAME>[A-Za-z_][A-Za-z0-9_]*+)
    |(?P<BINARY>\|\||&&|=\?=|=!=|==|!=|<=|>=|>>>|<<|>>|\?:|[|^&<>*/%])
    |(?P<SIGN>[+-])|(?P<NOT>[!~])|(?P<EQUAL>=)|(?P<QUESTION>\?)|(?P<COLON>:)
    |(?P<SEMI>;(?:[ \t\r\n]*+;)*+)
    |(?P<COMMA>,)|(?P<DOT>\.)|(?P<LSQB>\[)|(?P<RSQB>\])|(?P<LPAR>\()|(?P<RPAR>\))
    |(?P<LBRACE>\{{)|(?P<RBRACE>\}})|(?P<END>\Z))""",
    re.VERBOSE,
)
_KEPT: Final = re.compile(rf"({_STRING}|{_QUOTED})|(?:{_IGNORED})++", re.VERBOSE)
_OPENING: Final = frozenset({"OPEN", "LSQB", "LPAR", "LBRACE"})
_CLOSING: Final = frozenset({"RSQB", "RPAR", "RBRACE"})
_RUNS: Final = frozenset({"STRING", "SIGN", "NOT"})
_RUNS_TOGETHER: Final = frozenset({"PLAIN", "FLAT", "SEMI"})
_PARTED_BY: Final = {"PLAIN": ";", "FLAT": ","}
_NEVER_CLOSED: Final = {'"': "text", "'": "quoted name", "/*": "comment"}


def without_comments(text: str) -> str:
    """Return the text with each stretch of blanks and comments made one blank."""
    return _KEPT.sub(lambda found: found[1] or " ", text).strip()


class JdlLexer(Lexer):
    """Makes the tokens of a source. Raises Refused for what is none, and beyond the bounds."""

    __future_interface__ = False

    def __init__(self, lexer_conf: object) -> None:
        """There is nothing to configure."""

    @staticmethod
    def never_closed(source: Source) -> int | None:
        """Return where the last bracket stands that is never closed; None if there is none."""
        opened: list[int] = []
        for token in JdlLexer(None).lex(source):
            if token.type in _OPENING:
                opened.append((token.end_pos or 1) - 1)
            elif token.type in _CLOSING and opened:
                opened.pop()
        return opened[-1] if opened else None

    def lex(self, source: Source) -> Iterator[Token]:  # type: ignore[override]
        """Yield the tokens; each with its offset."""
        text, at, depth, run, n_tokens = source.text, 0, 0, 0, 0
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None or found.lastgroup is None:
                while text[at] in " \t\r\n":
                    at += 1
                raise source.refused("SYNTAX", _unknown(text, at), at)
            kind, at = found.lastgroup, found.end()
            if kind in ("IGNORED", "END"):
                continue
            start = found.start(kind)
            if at - start > MAX_TOKEN and kind not in _RUNS_TOGETHER:
                raise source.refused("TOO_LARGE", f"longer than {MAX_TOKEN} bytes", start)
            if kind in _OPENING:
                depth += 1
            elif kind in _CLOSING:
                depth -= 1
            run = run + 1 if kind in _RUNS else 0
            n_tokens += 1
            if kind in _PARTED_BY:
                n_tokens += text.count(_PARTED_BY[kind], start, at)
            if depth > MAX_DEPTH or run > _MAX_RUN:
                raise source.refused("TOO_DEEP", f"nested deeper than {MAX_DEPTH}", start)
            if n_tokens > _MAX_TOKENS:
                raise source.refused("TOO_LARGE", f"more than {_MAX_TOKENS} tokens", start)
            yield Token(kind, found[kind], start, end_pos=at)


def _unknown(text: str, at: int) -> str:
    for opening, what in _NEVER_CLOSED.items():
        if text.startswith(opening, at):
            return f"a {what} that is never closed begins"
    if text[at] in "\u201c\u201d\u201e\u2018\u2019":
        return f'a typographic quote, {text[at]}: texts stand in straight ones, "…"'
    return f"{text[at]!r} means nothing here"
