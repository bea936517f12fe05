"""Passes the parts' lines on to stderr, each with its part in front, and the stack's own with them.

Guarantees that nobody waits for whoever reads stderr: a thread writes, and what it does not get
rid of in time is dropped and counted. Must never be used for what has to arrive. Writes the stack's
few lines itself, since the start of a stack would wait for a logging library.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from datetime import UTC, datetime
from typing import BinaryIO

__all__ = ["PartLogs"]

_MOST_LINES = 10_000
_FLUSH_SECONDS = 1.0
_OWN = "up"


class PartLogs:
    """A context manager; lines are taken within its block.

    Parameters
    ----------
    output
        Where they go.
    as_json
        Whether lines are JSON, and stay as they are; otherwise the part's name goes before each.
    """

    def __init__(self, output: BinaryIO, *, as_json: bool) -> None:
        self._output = output
        self._as_json = as_json
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
        prefix = b"" if self._as_json else f"{part} | ".encode()
        with self._changed:
            if len(self._lines) < _MOST_LINES:
                self._lines.append(prefix + line + b"\n")
            else:
                self._n_dropped += 1
            self._changed.notify()

    def warn(self, event: str, **values: object) -> None:
        """Write a line of the stack's own. Returns at once."""
        time = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        if self._as_json:
            line = {**values, "event": event, "level": "warning", "timestamp": time}
            self.take(_OWN, json.dumps(line, default=str).encode())
        else:
            told = " ".join(f"{name}={value}" for name, value in values.items())
            self.take(_OWN, f"{time} [warning  ] {event} {told}".encode())

    def _write(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines or self._closed)
                lines, self._lines = self._lines, deque()
                n_dropped, self._n_dropped = self._n_dropped, 0
                if not lines:
                    return
            if n_dropped:
                self.warn("lines were dropped", n_dropped=n_dropped)
            try:
                self._output.writelines(lines)
                self._output.flush()
            except OSError:
                # Nobody reads any more; the parts go on.
                continue
