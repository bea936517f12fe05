"""The kernel's notice that files of a folder have grown or come, as an event for asyncio.

Linux only, as the local adapter is. Guarantees that a change after `open` wakes the next `wait`;
several changes may wake it once.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

__all__ = ["FolderChanges", "watch_folder"]

_IN_MODIFY, _IN_MOVED_TO, _IN_CREATE = 0x2, 0x80, 0x100
_BUFFER_BYTES = 65536

_libc = ctypes.CDLL(None, use_errno=True)


class FolderChanges:
    """Wakes when something in the folder has changed."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._changed = asyncio.Event()

    async def wait(self) -> None:
        """Until something has changed since the last time."""
        await self._changed.wait()
        self._changed.clear()

    def note(self) -> None:
        """Take the kernel's notices; which files they name does not matter."""
        try:
            os.read(self._descriptor, _BUFFER_BYTES)
        except BlockingIOError:
            return
        self._changed.set()


@asynccontextmanager
async def watch_folder(folder: Path) -> AsyncIterator[FolderChanges]:
    """Watch a folder, which must be there, for as long as the context lasts.

    Raises
    ------
    OSError
        The kernel allows no more watches, or there is no such folder.
    """
    descriptor = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0:
        raise _error(folder)
    loop = asyncio.get_running_loop()
    try:
        kinds = _IN_MODIFY | _IN_MOVED_TO | _IN_CREATE
        if _libc.inotify_add_watch(descriptor, os.fsencode(folder), kinds) < 0:
            raise _error(folder)
        changes = FolderChanges(descriptor)
        loop.add_reader(descriptor, changes.note)
        try:
            yield changes
        finally:
            loop.remove_reader(descriptor)
    finally:
        os.close(descriptor)


def _error(folder: Path) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), str(folder))
