"""The folder where one installation keeps its files: claimed by one stack, in a known format.

Guarantees that two stacks never share a folder, and that files of a newer program are not touched
by an older one. The claim is a kernel lock: it goes with its process, however that ends.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ewms_postgres.file_lock import open_lock_file, try_lock

__all__ = ["FORMAT", "DataFolderInUse", "DataFolderTooNew", "claim_data_folder"]

FORMAT = 1
"""The format that this version of the program writes."""

Migration = Callable[[Path], None]


class DataFolderInUse(Exception):
    """Another process has claimed the folder. `pid` is its number, None if it cannot be told."""

    def __init__(self, path: Path, pid: int | None) -> None:
        super().__init__(f"{path} is in use by process {pid or 'unknown'}")
        self.pid = pid


class DataFolderTooNew(Exception):
    """The folder was written by a newer version of the program, in the format `found`."""

    def __init__(self, path: Path, found: int, known: int) -> None:
        super().__init__(
            f"{path} has format {found}, this version knows {known}; run the newer version"
        )
        self.found = found
        self.known = known


@contextmanager
def claim_data_folder(
    path: Path, *, steps: Mapping[int, Migration] | None = None, current: int = FORMAT
) -> Iterator[Path]:
    """Hold the folder for the block, created if missing, brought to the current format.

    Parameters
    ----------
    path
        The folder.
    steps
        `steps[n]` turns format n into n + 1. One that was killed half-way runs again, so each
        must be repeatable.
    current
        The format that is wanted.

    Raises DataFolderInUse and DataFolderTooNew; ValueError if a step is missing.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = open_lock_file(path / "ewms.lock")
    try:
        if not try_lock(descriptor, fcntl.LOCK_EX):
            raise DataFolderInUse(path, _holder(descriptor))
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        _bring_to(path, current, steps or {})
        yield path
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> int | None:
    written = os.pread(descriptor, 32, 0).strip()
    return int(written) if written.isdigit() else None


def _bring_to(path: Path, current: int, steps: Mapping[int, Migration]) -> None:
    file = path / "format"
    if not file.exists():
        _write_format(file, current)
        return
    found = int(file.read_text())
    if found > current:
        raise DataFolderTooNew(path, found, current)
    for number in range(found, current):
        if number not in steps:
            raise ValueError(f"no step leads from format {number} of {path}")
        steps[number](path)
        _write_format(file, number + 1)


def _write_format(file: Path, number: int) -> None:
    unfinished = file.with_suffix(".unfinished")
    with unfinished.open("w") as stream:
        stream.write(f"{number}\n")
        stream.flush()
        os.fsync(stream.fileno())
    unfinished.replace(file)
