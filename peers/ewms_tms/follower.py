"""Follows the job event logs of a folder: an Observer for HTCondor and for the local adapter.

Guarantees every event of every log, each once and in its file's order; nothing counts as caught up
before each file has been read once to its end. Woken by the kernel, never by a timer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from itertools import islice
from pathlib import Path

import structlog

from ewms_tms.grid import Observation
from ewms_tms.inotify import watch_folder
from ewms_tms.job_events import JobEvent
from ewms_tms.log_file import LogFile, log_paths

__all__ = ["LogObserver"]

_BATCH = 10_000

log = structlog.get_logger(__name__)


class LogObserver:
    """The logs of a folder, which must be there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[Path, LogFile] = {}

    async def follow(self) -> AsyncGenerator[Observation, None]:
        """All events from the beginning of every log, then each as it is written."""
        self._files = {}
        is_caught_up = False
        # The watch comes before the first reading, so that nothing falls between them.
        async with watch_folder(self._folder) as changes:
            while True:
                reading = self._read()
                while observed := await asyncio.to_thread(_some, reading):
                    for events, path in observed:
                        yield Observation(events, is_caught_up, path)
                    if sum(len(events) for events, _ in observed) < _BATCH:
                        break
                if not is_caught_up:
                    is_caught_up = True
                    yield Observation((), True)
                await changes.wait()

    def _read(self) -> Iterator[tuple[list[JobEvent], str]]:
        """What is new in every log, in parts. Blocking."""
        self._files = {
            path: self._files.get(path) or LogFile(path) for path in log_paths(self._folder)
        }
        for path, file in self._files.items():
            n_corrupt = file.n_corrupt
            reading = file.read()
            while events := list(islice(reading, _BATCH)):
                yield events, str(path)
            if file.n_corrupt > n_corrupt:
                skipped = file.n_corrupt - n_corrupt
                log.warning("skipped corrupt events", log=str(path), n=skipped)


def _some(
    reading: Iterator[tuple[list[JobEvent], str]],
) -> list[tuple[list[JobEvent], str]]:
    """The next parts, a batch of events or a little more: mostly all that there are, in one go."""
    parts, n_events = [], 0
    for events, path in reading:
        parts.append((events, path))
        n_events += len(events)
        if n_events >= _BATCH:
            break
    return parts
