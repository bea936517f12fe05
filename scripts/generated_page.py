"""A page that a script generates: written, or compared with what is there."""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["write_or_check"]


def write_or_check(path: Path, text: str, *, check: bool) -> int:
    """Write the page, or with `check` only say if it is not fresh. Returns the exit code."""
    if not check:
        path.write_text(text)
        return 0
    if path.exists() and path.read_text() == text:
        return 0
    sys.stderr.write(f"not fresh: {path} (run `make protos`)\n")
    return 1
