"""A workflow's file, and those beside and below it, as a bundle holds them.

A bundle is bounded, 16 MiB a file and 64 MiB in all; links and hidden files stay out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Collected", "collect"]

_LARGEST_FILE: Final = 16 << 20
_LARGEST_BUNDLE: Final = 64 << 20
_MOST_FILES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Collected:
    """Files by their paths below the main file's folder. `is_whole`: nothing had to stay out."""

    files: Mapping[str, bytes]
    main: str
    is_whole: bool


def collect(main: Path, largest: int = _LARGEST_BUNDLE) -> Collected:
    """Read a file and what may belong to it. Raises OSError for the file itself alone."""
    files = {main.name: main.read_bytes()}
    size, is_whole = len(files[main.name]), True
    for path in _beside(main):
        try:
            length = path.stat().st_size
            if length > _LARGEST_FILE or size + length > largest or len(files) >= _MOST_FILES:
                is_whole = False
                continue
            files[path.relative_to(main.parent).as_posix()] = path.read_bytes()
        except OSError:
            is_whole = False
            continue
        size += length
    return Collected(files, main.name, is_whole)


def _beside(main: Path) -> Iterator[Path]:
    for path in sorted(main.parent.rglob("*")):
        is_hidden = any(part.startswith(".") for part in path.relative_to(main.parent).parts)
        if not is_hidden and path != main and path.is_file() and not path.is_symlink():
            yield path
