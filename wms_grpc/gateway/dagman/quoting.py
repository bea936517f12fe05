"""Arguments and environments as submit descriptions write them, in both of their syntaxes.

The new one stands in double quotes: blanks separate, single quotes keep blanks together, and a
quote of either kind is doubled. The old one has no quotes; `\\"` is a double quote, and `;`
separates the variables of an environment. What we write is in the new one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from wms_grpc.gateway.dagman.lines import BLANKS, split_blanks

__all__ = ["read_arguments", "read_environment", "written_arguments", "written_environment"]

_PART = re.compile(r"((?:[^\s']+|'(?:[^']|'')*')+)\s*", re.ASCII)
_QUOTED = re.compile(r"'((?:[^']|'')*)'")
_OLD_QUOTE = re.compile(r'(?<!\\)"')


def read_arguments(text: str) -> tuple[str, ...]:
    """Return the arguments. Raises ValueError with the reason where the text has none."""
    text = text.strip(BLANKS)
    if text.startswith('"'):
        return tuple(_parts(_inside(text)))
    if _OLD_QUOTE.search(text):
        raise ValueError("a double quote that is not escaped")
    return tuple(split_blanks(text.replace('\\"', '"')))


def read_environment(text: str) -> dict[str, str]:
    """Return the variables. Raises ValueError with the reason where the text has none."""
    text = text.strip(BLANKS)
    is_new = text.startswith('"')
    parts = _parts(_inside(text)) if is_new else [part.strip(BLANKS) for part in text.split(";")]
    variables: dict[str, str] = {}
    for part in parts:
        if not part:
            continue
        name, equals, value = part.partition("=")
        if not equals or not name:
            raise ValueError(f"the variable {part[:40]!r} has no name or no `=`")
        variables[name] = value
    return variables


def written_arguments(arguments: Iterable[str]) -> str:
    """Return the arguments in the new syntax."""
    return '"' + " ".join(_quoted(argument) for argument in arguments).replace('"', '""') + '"'


def written_environment(variables: Mapping[str, str]) -> str:
    """Return the variables in the new syntax."""
    return written_arguments(f"{name}={value}" for name, value in variables.items())


def _inside(text: str) -> str:
    inner = text[1:-1]
    if len(text) < 2 or not text.endswith('"') or '"' in inner.replace('""', ""):
        raise ValueError("a double quote that is not doubled, or not closed")
    return inner.replace('""', '"')


def _parts(text: str) -> list[str]:
    text = text.strip(BLANKS)
    parts: list[str] = []
    at = 0
    while at < len(text):
        match = _PART.match(text, at)
        if match is None or (match.end() < len(text) and match[0][-1] not in BLANKS):
            raise ValueError("a single quote that is not closed")
        parts.append(_QUOTED.sub(lambda quoted: quoted[1].replace("''", "'"), match[1]))
        at = match.end()
    return parts


def _quoted(argument: str) -> str:
    if argument and not re.search(r"[\s']", argument):
        return argument
    return "'" + argument.replace("'", "''") + "'"
