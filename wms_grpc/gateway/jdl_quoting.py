"""Texts and names of job descriptions, quoted and unquoted as ClassAds do."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["quoted_name", "quoted_text", "unescaped"]


def quoted_text(text: str) -> str:
    """Return a text as JDL says it."""
    return f'"{_IN_TEXT.sub(_escaped, text)}"'


def quoted_name(name: str) -> str:
    """Return a name as JDL says it, quoted where it is no plain word."""
    if _PLAIN_NAME.fullmatch(name) and name.lower() not in _RESERVED:
        return name
    return f"'{_IN_NAME.sub(_escaped, name)}'"


_PLAIN_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_RESERVED: Final = frozenset({"is", "isnt", "true", "false", "undefined", "error", "parent"})
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "a": "\a", "v": "\v"}
_IN_TEXT: Final = re.compile(r"[\"\\\x00-\x1f\x7f]")
_IN_NAME: Final = re.compile(r"['\\\x00-\x1f\x7f]")
_ESCAPED: Final = re.compile(r"((?:\\[0-3]?[0-7]{1,2})+)|\\([\s\S])")
_WORDS: Final = {value: key for key, value in _ESCAPES.items()}


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    if character in "\"'\\":
        return f"\\{character}"
    return f"\\{_WORDS[character]}" if character in _WORDS else f"\\{ord(character):03o}"


def unescaped(text: str) -> str:
    """Return what the inside of quotes means; an unknown escape is its character."""
    return _ESCAPED.sub(_plain, text) if "\\" in text else text


def _plain(found: re.Match[str]) -> str:
    if found[1]:
        # ClassAds write what is beyond ASCII as the bytes of its UTF-8.
        data = bytes(int(number, 8) for number in found[1].split("\\")[1:])
        try:
            return data.decode()
        except UnicodeDecodeError:
            return data.decode("latin-1")
    return _ESCAPES.get(found[2], found[2])
