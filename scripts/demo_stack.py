"""The demo's `ewms up`: started, waited for, stopped; what it leaves behind is killed and told.

Its processes are known by the data folder, in which they work or which their arguments name.
"""

from __future__ import annotations

import os
import queue
import re
import subprocess
import sys
import threading
from pathlib import Path

import psutil

__all__ = ["DemoStack", "DemoStackFailed"]

_STOP_SECONDS = 15.0
_LAST_LINES = 30
_READY = re.compile(r"ready: WMS on (\S+),")


class DemoStackFailed(Exception):
    """The stack did not start, or did not stop cleanly; with the end of its log."""


class DemoStack:
    """A context manager; at its end no process is left."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._log = data.parent / "stack.log"
        self._lines: queue.Queue[str | None] = queue.Queue()

    def __enter__(self) -> DemoStack:
        with self._log.open("wb") as log:
            # Tethered: a demo that is killed takes the stack along.
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "wms_grpc.tethered", str(os.getpid()), "up"),
                    *("--data", str(self._data)),
                    *("--wms", "127.0.0.1:0", "--mqs", "127.0.0.1:0"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                # A Ctrl-C is for the demo, which stops the stack.
                start_new_session=True,
            )
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for process in self._left_behind():
            process.kill()

    def await_ready(self, seconds: float) -> str:
        """The WMS's address, once all answers. Raises DemoStackFailed."""
        try:
            while line := self._lines.get(timeout=seconds):
                if told := _READY.match(line):
                    return told[1]
        except queue.Empty:
            raise self._failed(f"the stack is not ready after {seconds:g} s") from None
        raise self._failed("the stack does not start")

    def stop(self) -> None:
        """Stop it as a user would. Raises DemoStackFailed if anything is left of it."""
        self._process.terminate()
        try:
            code = self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise self._failed("the stack does not stop") from None
        if code:
            raise self._failed(f"the stack ended with {code}")
        if left := self._left_behind():
            raise self._failed(f"the stack left processes behind: {[p.name() for p in left]}")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def _left_behind(self) -> list[psutil.Process]:
        folder = str(self._data)
        found = []
        for process in psutil.process_iter():
            try:
                if process.cwd().startswith(folder) or any(
                    argument.startswith(folder) for argument in process.cmdline()
                ):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def _failed(self, what: str) -> DemoStackFailed:
        lines = self._log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
        return DemoStackFailed("\n".join([f"{what}; its log ends with:", *lines]))
