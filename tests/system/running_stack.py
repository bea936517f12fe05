"""An `ewms up` of a test's own: started, waited for by what it prints, seen to its end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil

EWMS = str(Path(sys.executable).with_name("ewms"))
START_SECONDS = 90.0
STOP_SECONDS = 12.0

_READY = re.compile(r"ready: WMS on (?P<wms>\S+), MQS on (?P<mqs>\S+)")


class RunningStack:
    """A stack on free ports; a context manager that leaves no process behind."""

    def __init__(self, data: Path, *options: str) -> None:
        self.data = data
        self.wms = self.mqs = ""
        self._ready = threading.Event()
        self._lines: list[str] = []
        self._process = subprocess.Popen(
            [EWMS, "up", "--data", str(data), *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "EWMS_UP_WMS": "127.0.0.1:0", "EWMS_UP_MQS": "127.0.0.1:0"},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> RunningStack:
        return self

    def __exit__(self, *exc: object) -> None:
        parts = self.parts()
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for process in [*parts.values(), *self.others()]:
            if process.is_running():
                process.kill()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_ready(self) -> bool:
        return self._ready.is_set()

    @property
    def output(self) -> str:
        return "".join(self._lines)

    def await_ready(self) -> RunningStack:
        deadline = time.monotonic() + START_SECONDS
        while not self._ready.wait(0.05):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the stack is not ready:\n{self.output}")
        return self

    def parts(self) -> dict[str, psutil.Process]:
        """The parts' living processes by name."""
        found = {}
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.pid).children():
                with suppress(psutil.NoSuchProcess):
                    arguments = child.cmdline()
                    if "wms_grpc.tethered" in arguments:
                        found[arguments[4]] = child
        return found

    def others(self) -> list[psutil.Process]:
        """What else works in the data folder: PostgreSQL, workers."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.cwd().startswith(str(self.data)) and process.pid != os.getpid():
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
        return found

    def postmaster(self) -> int | None:
        """The embedded server's process, by its own word; None when it has stopped."""
        file = self.data / "postgres" / "postmaster.pid"
        return int(file.read_text().split()[0]) if file.exists() else None

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal it and return its exit code."""
        self._process.send_signal(number)
        return self.end()

    def end(self) -> int:
        """Its exit code, once it has ended by itself."""
        code = self._process.wait(STOP_SECONDS + START_SECONDS)
        self._reader.join(5)
        return code

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line)
            if told := _READY.match(line):
                self.wms, self.mqs = told["wms"], told["mqs"]
                self._ready.set()
