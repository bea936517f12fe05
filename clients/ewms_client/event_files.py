"""Events as files in a folder. A file is there whole or not at all, and on the disk when `store`
returns; none is ever overwritten, and no name from the network leads out of the folder.
"""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4

__all__ = ["EventFolder", "safe_name"]

_LONGEST_NAME = 200


def safe_name(filename: str | None, event_id: str) -> str:
    """The name that a publisher asks for, if it is a plain file name; else the event's id."""
    if filename and _is_plain(filename):
        return filename
    if _is_plain(event_id):
        return event_id
    return uuid4().hex


def _is_plain(name: str) -> bool:
    return (
        0 < len(name.encode(errors="replace")) <= _LONGEST_NAME
        and not name.startswith((".", "-", "~"))
        and not any(char in '/\\:*?"<>|' or not char.isprintable() for char in name)
    )


class EventFolder:
    """The folder at `path`, made if it is not there. One thread at a time may store."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._next_number: dict[str, int] = {}

    def store(self, name: str, payload: bytes) -> Path:
        """Write a new file and return its path: `name`, or, taken, `name` with a number in it."""
        hidden = self._path / f".{uuid4().hex}.part"
        try:
            with hidden.open("xb") as file:
                file.write(payload)
                file.flush()
                os.fsync(file.fileno())
            path = self._linked(hidden, name)
        finally:
            hidden.unlink(missing_ok=True)
        self._flush()
        return path

    def _linked(self, hidden: Path, name: str) -> Path:
        stem, suffix = Path(name).stem, Path(name).suffix
        number = self._next_number.get(name, 0)
        while True:
            path = self._path / (f"{stem}.{number}{suffix}" if number else name)
            number += 1
            try:
                # A rename would silently replace a file that another process made meanwhile.
                os.link(hidden, path)
            except FileExistsError:
                continue
            self._next_number[name] = number
            return path

    def _flush(self) -> None:
        descriptor = os.open(self._path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
