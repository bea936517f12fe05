"""The task of the robustness tests: `ledger_task.py INFILE OUTFILE LEDGER NAME SECONDS`.

Appends a line to the ledger when it starts and one when it stops, copies the event with its own
name behind it, and holds a lock of its worker's slot meanwhile: two workers of one proc that live
at the same time show as an `overlap`. Nothing but the standard library, so that it starts quickly.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time


def main() -> None:
    """Run on one event."""
    infile, outfile, ledger, name, seconds = sys.argv[1:]
    cluster, proc = _slot(os.getcwd())
    with open(infile, encoding="utf-8") as file:
        event = file.read()
    lock = os.open(f"{ledger}.{cluster}.{proc}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _note(ledger, "overlap", name, cluster, proc, event)
    _note(ledger, "start", name, cluster, proc, event)
    time.sleep(float(seconds))
    with open(outfile, "w", encoding="utf-8") as file:
        file.write(f"{event}|{name}")
    _note(ledger, "stop", name, cluster, proc, event)


def _slot(folder: str) -> tuple[str, str]:
    """Cluster and proc, from the path of the worker's scratch folder."""
    while folder != "/":
        folder, name = os.path.split(folder)
        if name.endswith(".scratch"):
            return os.path.basename(folder), name.removesuffix(".scratch")
    return "none", "none"


def _note(ledger: str, what: str, *words: str) -> None:
    line = " ".join((what, f"{time.monotonic():.6f}", str(os.getpid()), *words)) + "\n"
    descriptor = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    os.write(descriptor, line.encode())
    os.close(descriptor)


main()
