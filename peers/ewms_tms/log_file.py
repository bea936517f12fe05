"""One job event log on disk, read further each time that it has grown.

Guarantees each event once, in the file's order; a file that is another one, or shorter than
before, was replaced, and is read from its start. Blocking: call it in a thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ewms_tms.event_log import EventParser
from ewms_tms.job_events import JobEvent

__all__ = ["LOG_SUFFIX", "LogFile", "log_paths"]

LOG_SUFFIX = ".tms.jel"
_CHUNK_BYTES = 1 << 20


class LogFile:
    """A place in a growing log."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = self._inode = 0
        self._parser = EventParser()
        self._n_corrupt_before = 0

    @property
    def n_corrupt(self) -> int:
        """Events that were skipped since the file was first read."""
        return self._n_corrupt_before + self._parser.n_corrupt

    def read(self) -> Iterator[JobEvent]:
        """The events from the last place to the file's present end."""
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return
        with file:
            state = os.fstat(file.fileno())
            if state.st_size < self._offset or state.st_ino != self._inode:
                self._n_corrupt_before += self._parser.n_corrupt
                self._offset, self._parser = 0, EventParser()
                self._inode = state.st_ino
            file.seek(self._offset)
            while chunk := file.read(_CHUNK_BYTES):
                self._offset += len(chunk)
                yield from self._parser.feed(chunk)


def log_paths(folder: Path) -> list[Path]:
    """The logs in a folder, oldest first."""
    return sorted(path for path in folder.iterdir() if path.name.endswith(LOG_SUFFIX))
