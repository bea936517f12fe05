"""Passes the parts' lines on to stderr, each with its part in front.

Guarantees that nobody waits for whoever reads stderr: a thread writes, and what it does not get
rid of in time is dropped and counted. Must never be used for what has to arrive.
"""

from __future__ import annotations

import sys
import threading
from collections import deque

__all__ = ["PartLogs"]

_MOST_LINES = 10_000
_FLUSH_SECONDS = 1.0


class PartLogs:
    """A context manager; lines are taken within its block.

    Parameters
    ----------
    prefixed
        Whether the part's name goes before each line; JSON stays as it is.
    """

    def __init__(self, *, prefixed: bool) -> None:
        self._prefixed = prefixed
        self._lines: deque[bytes] = deque()
        self._n_dropped = 0
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._write, name="part-logs", daemon=True)

    def __enter__(self) -> PartLogs:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(_FLUSH_SECONDS)

    def take(self, part: str, line: bytes) -> None:
        """Pass a line on, without its line feed. Returns at once."""
        prefix = f"{part} | ".encode() if self._prefixed else b""
        with self._changed:
            if len(self._lines) < _MOST_LINES:
                self._lines.append(prefix + line + b"\n")
            else:
                self._n_dropped += 1
            self._changed.notify()

    def _write(self) -> None:
        output = sys.stderr.buffer
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines or self._closed)
                lines, self._lines = self._lines, deque()
                n_dropped, self._n_dropped = self._n_dropped, 0
                if not lines:
                    return
            if n_dropped and self._prefixed:
                lines.append(f"up | {n_dropped} lines were dropped\n".encode())
            try:
                output.writelines(lines)
                output.flush()
            except OSError:
                # Nobody reads any more; the parts go on.
                continue
