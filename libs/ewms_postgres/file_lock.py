"""Advisory locks on files, which the kernel drops when their holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["LockTimeout", "exclusive_lock", "open_lock_file", "try_lock"]

_POLL_SECONDS = 0.02


class LockTimeout(Exception):
    """The lock was held by another process for longer than we would wait."""


def open_lock_file(path: Path) -> int:
    """Open, or create, a lock file for its owner alone; the caller closes the descriptor."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def try_lock(descriptor: int, operation: int) -> bool:
    """Take `fcntl.LOCK_SH` or `LOCK_EX` if it is free now, and say whether it was."""
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def exclusive_lock(path: Path, *, timeout: float) -> Iterator[None]:
    """Hold the lock file exclusively, waiting up to `timeout` seconds; blocks its thread."""
    descriptor = open_lock_file(path)
    try:
        deadline = time.monotonic() + timeout
        while not try_lock(descriptor, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise LockTimeout(f"{path} is locked by another process")
            time.sleep(_POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)
