"""Names that any language may give, as names of DAGMan's nodes, and back.

What DAGMan keeps for itself (`+`, `.`), and what would end a word, is written by its bytes as in a
URL (`%2B`); `%` too, so that reading undoes writing whatever the name is. Two names that are
escaped alike do not exist.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["ALL_NODES", "RESERVED", "read_name", "written_name"]

ALL_NODES: Final = "ALL_NODES"
RESERVED: Final = frozenset({"PARENT", "CHILD", ALL_NODES})
"""No node may have these names, in upper or lower case."""

_UNSAFE = re.compile(
    r"""[\x00-\x20\x7f-\xa0"'\\+.%/\u1680\u2000-\u200a\u2028-\u202f\u205f\u3000]"""
)
_ESCAPES = re.compile(r"(?:%[0-9A-F]{2})+")


def written_name(name: str) -> str:
    """Return the name as a word of a DAG file."""
    written = _UNSAFE.sub(lambda match: _escaped(match[0]), name)
    if written.upper() in RESERVED or written.startswith("_condor_join_node"):
        return _escaped(written[0]) + written[1:]
    return written


def read_name(word: str) -> str:
    """Return the name that the word stands for."""
    return _ESCAPES.sub(_unescaped, word) if "%" in word else word


def _escaped(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))


def _unescaped(match: re.Match[str]) -> str:
    try:
        return bytes.fromhex(match[0].replace("%", "")).decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return match[0]
