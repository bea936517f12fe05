"""The demo's events, and what its workflows must make of them.

The events are drawn by a seeded generator, so that every run has the same: text and binary, from
nothing at all to a quarter of a megabyte, with the cases that are easily got wrong.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Events", "copied", "shouted_and_sorted", "write_events"]

_SEED = 20_261_123
_LARGEST = 256 * 1024
_EDGE_CASES = (b"", b"\n", b"\n\n", b"no line feed at the end", b"\0", b"b\0b\na\0a\n", b"\r\nx\r")


@dataclass(frozen=True)
class Events:
    """Files on disk, and what is in each by its name."""

    paths: tuple[Path, ...]
    contents: Mapping[str, bytes]

    @property
    def size(self) -> int:
        """All of them together, in bytes."""
        return sum(map(len, self.contents.values()))


def write_events(folder: Path, count: int) -> Events:
    """Write `count` events as files into a new folder."""
    folder.mkdir()
    chance = random.Random(_SEED)
    paths, contents = [], {}
    for number in range(count):
        path = folder / f"event-{number:03}"
        content = _EDGE_CASES[number] if number < len(_EDGE_CASES) else _drawn(chance)
        path.write_bytes(content)
        paths.append(path)
        contents[path.name] = content
    return Events(tuple(paths), contents)


def copied(content: bytes) -> bytes:
    """What `copy.json` makes of an event: `cp`."""
    return content


def shouted_and_sorted(content: bytes) -> bytes:
    """What `chain.json` makes of an event: `dd conv=ucase`, then `sort`, both in the C locale."""
    lines = content.upper().split(b"\n")
    if not lines[-1]:
        lines.pop()
    return b"".join(line + b"\n" for line in sorted(lines))


def _drawn(chance: random.Random) -> bytes:
    # As many events of ten bytes as of ten thousand.
    size = int(_LARGEST ** chance.random())
    if chance.random() < 0.5:
        return chance.randbytes(size)
    return bytes(chance.choices(b"abcdefghijklmnopqrstuvwxyz ABC,.;\n", k=size))
