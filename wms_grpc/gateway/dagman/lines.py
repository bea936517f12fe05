"""The text of a DAG file or a submit description: logical lines that know where they stand.

A backslash at the end of a line continues it; comments and, in a DAG file, blank lines within a
continuation are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from wms_grpc.gateway.model import Position

__all__ = ["BLANKS", "Line", "logical_lines", "split_blanks"]

BLANKS = " \t\r\n\v\f"
"""What separates words; blanks of other alphabets do not."""

_GAP = re.compile(f"[{BLANKS}]+")


@dataclass(frozen=True, slots=True)
class Line:
    """A logical line. `pieces`: where in its text each physical line begins, and where that is."""

    file: str
    text: str
    pieces: tuple[tuple[int, int, int], ...]

    def position(self, offset: int = 0) -> Position:
        """Return where the character at the offset stands in the file."""
        pieces = self.pieces
        if len(pieces) > 1:
            pieces = (max(piece for piece in pieces if piece[0] <= offset),)
        start, line, column = pieces[0]
        return Position(self.file, line, column + offset - start)


def logical_lines(
    file: str, text: str, *, comments: tuple[str, ...], joint: str, over_blanks: bool
) -> Iterator[Line]:
    """Yield the lines that say something.

    `comments` are what a comment line begins with, `joint` stands between the parts of a continued
    line; with `over_blanks`, blank lines within one do not end it.
    """
    held: list[str] = []
    pieces: list[tuple[int, int, int]] = []
    size = 0
    for number, raw in enumerate(text.split("\n"), start=1):
        stripped = raw.strip(BLANKS)
        if stripped.startswith(comments) or (not stripped and (over_blanks or not held)):
            continue
        is_continued = stripped.endswith("\\")
        said = stripped[:-1] if is_continued else stripped
        pieces.append((size, number, len(raw) - len(raw.lstrip(BLANKS)) + 1))
        held.append(said)
        size += len(said) + len(joint)
        if not is_continued:
            yield Line(file, joint.join(held), tuple(pieces))
            held, pieces, size = [], [], 0
    if held:
        yield Line(file, joint.join(held).rstrip(BLANKS), tuple(pieces))


def split_blanks(text: str) -> list[str]:
    """Return what stands between the blanks."""
    return [part for part in _GAP.split(text) if part]
