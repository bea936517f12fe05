"""The demo's events, and what its workflows must make of them.

The events are drawn by a seeded generator, so that every run has the same: text and binary, from
nothing at all to a quarter of a megabyte, with the cases that are easily got wrong.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Events", "copied", "drawn_events", "shouted", "shouted_and_sorted", "write_events"]

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


def drawn_events(count: int, largest: int = _LARGEST) -> dict[str, bytes]:
    """`count` events by name, of at most `largest` bytes."""
    chance = random.Random(_SEED)
    drawn = (_drawn(chance, largest) for _ in range(count - len(_EDGE_CASES)))
    contents = (*_EDGE_CASES[:count], *drawn)
    return {f"event-{number:03}": content for number, content in enumerate(contents)}


def write_events(folder: Path, count: int) -> Events:
    """Write `count` events as files into a new folder."""
    folder.mkdir()
    contents = drawn_events(count)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return Events(tuple(folder / name for name in contents), contents)


def copied(content: bytes) -> bytes:
    """What `copy.json` makes of an event: `cp`."""
    return content


def shouted(content: bytes) -> bytes:
    """What `two-schedds.json` makes of an event: `dd conv=ucase` in the C locale."""
    return content.upper()


def shouted_and_sorted(content: bytes) -> bytes:
    """What `chain.json` makes of an event: `dd conv=ucase`, then `sort`, both in the C locale."""
    lines = shouted(content).split(b"\n")
    if not lines[-1]:
        lines.pop()
    return b"".join(line + b"\n" for line in sorted(lines))


def _drawn(chance: random.Random, largest: int) -> bytes:
    # As many events of ten bytes as of ten thousand.
    size = int(largest ** chance.random())
    if chance.random() < 0.5:
        return chance.randbytes(size)
    return bytes(chance.choices(b"abcdefghijklmnopqrstuvwxyz ABC,.;\n", k=size))
