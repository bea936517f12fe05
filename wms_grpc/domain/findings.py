"""What a user is to know of a workflow that was read or analysed: code, words, place in a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Finding", "FindingSeverity", "Position"]

FindingSeverity = Literal["error", "warning", "info"]


@dataclass(frozen=True, slots=True)
class Position:
    """Where something stands in a bundle; lines and columns count from 1, 0: not known."""

    file: str = ""
    line: int = 0
    column: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a reader of the translation must know.

    Parameters
    ----------
    code
        In capitals, the same for the same matter in every language (`NO_COUNTERPART`,
        `MISSING_FILE`, `NEEDS_ACCESS_POINT`, `NO_OPERATION`, …).
    message
        In words that name the cause.
    subject
        The task, place or attribute that it is about.
    """

    code: str
    message: str
    position: Position = field(default_factory=Position)
    subject: str = ""
    severity: FindingSeverity = "warning"
