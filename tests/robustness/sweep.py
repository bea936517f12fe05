"""Ends every process that works in a folder, once whoever started it has gone: `sweep.py FOLDER`.

Waits for the end of its standard input, which the kernel brings about however its parent ends, so
that a test that is killed leaves nothing behind. Must never touch a process of another folder.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import psutil

__all__ = ["ended_in", "processes_in"]

_TRIES = 100
_TRY_SECONDS = 0.1


def processes_in(folder: Path) -> list[psutil.Process]:
    """The processes, but this one and its forebears, that name the folder or work in it."""
    spared = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        try:
            words = [process.cwd(), *process.cmdline()]
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if process.pid not in spared and any(str(folder) in word for word in words):
            found.append(process)
    return found


def ended_in(folder: Path) -> bool:
    """Kill them until there are none; whether that came true."""
    for _ in range(_TRIES):
        found = processes_in(folder)
        if not found:
            return True
        for process in found:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        time.sleep(_TRY_SECONDS)
    return False


if __name__ == "__main__":
    sys.stdin.read()
    sys.exit(not ended_in(Path(sys.argv[1])))
