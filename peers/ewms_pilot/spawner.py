"""The small process that starts a pilot's commands, so that none outlives the pilot.

It is forked before the pilot has threads or gRPC (forking later would be unsafe), does nothing but
start, signal and reap commands, and sits in a session of its own, so that a signal to the pilot's
group does not reach it. When the pilot is gone, however it died, the socket between them closes,
and the spawner kills every process group that it started and ends. If the spawner itself is
killed, the kernel kills the commands. It must never import what starts threads.

Orders come over a socket as JSON with its length before it: `{"run": n, "argv", "env", "cwd"}`
with the file descriptor for stderr, and `{"kill": n, "signal": s}`. Reports go back over a pipe,
one line of JSON each: `{"ended": n, "code": c}` (as `Popen.returncode`) once no process of the
group is left, and `{"failed": n, "error": text}`.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import selectors
import signal
import socket
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["LENGTH", "SpawnerLink", "fork_spawner"]

LENGTH = struct.Struct("!I")
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class SpawnerLink:
    """The pilot's ends: it writes `orders` and reads `reports` (a file descriptor)."""

    orders: socket.socket
    reports: int


def fork_spawner() -> SpawnerLink:
    """Fork the spawner. To be called while the process has one thread."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    read_end, write_end = os.pipe()
    if os.fork() == 0:
        code = 1
        try:
            ours.close()
            os.close(read_end)
            os.setsid()
            _Spawner(theirs, write_end).serve()
            code = 0
        finally:
            # Never back into the caller's stack, which belongs to the pilot.
            os._exit(code)
    theirs.close()
    os.close(write_end)
    return SpawnerLink(ours, read_end)


class _Spawner:
    def __init__(self, orders: socket.socket, reports: int) -> None:
        self._orders = orders
        self._reports = reports
        self._commands: dict[int, subprocess.Popen[bytes]] = {}
        self._signals, wakeup = socket.socketpair()
        self._signals.setblocking(False)
        wakeup.setblocking(False)
        self._wakeup = wakeup

    def serve(self) -> None:
        """Serve until the pilot is gone; then kill what is left."""
        for ignored in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(ignored, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._orders, selectors.EVENT_READ)
                selector.register(self._signals, selectors.EVENT_READ)
                while self._turn({key.fileobj for key, _ in selector.select()}):
                    pass
        finally:
            signal.set_wakeup_fd(-1)
            for command in self._commands.values():
                _kill_group(command.pid, signal.SIGKILL)

    def _turn(self, readable: set[Any]) -> bool:
        if self._signals in readable:
            with contextlib.suppress(BlockingIOError):
                self._signals.recv(4096)
            self._reap()
        return self._orders not in readable or self._obey()

    def _obey(self) -> bool:
        header, fds, _, _ = socket.recv_fds(self._orders, LENGTH.size, 1, socket.MSG_WAITALL)
        if len(header) < LENGTH.size:
            return False
        order = json.loads(self._receive(LENGTH.unpack(header)[0]))
        if "run" in order:
            self._run(order, fds[0])
        elif command := self._commands.get(order["kill"]):
            _kill_group(command.pid, order["signal"])
        return True

    def _receive(self, size: int) -> bytes:
        body = b""
        while len(body) < size:
            part = self._orders.recv(size - len(body))
            if not part:
                raise EOFError
            body += part
        return body

    def _run(self, order: dict[str, Any], stderr: int) -> None:
        try:
            self._commands[order["run"]] = subprocess.Popen(
                order["argv"],
                env=order["env"],
                cwd=order["cwd"],
                stdin=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
                preexec_fn=_DieWithSpawner(),
            )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            self._tell({"failed": order["run"], "error": str(error)})
        finally:
            os.close(stderr)

    def _reap(self) -> None:
        for number, command in list(self._commands.items()):
            # The leader stays a zombie until its group is dead: its id cannot be another's then.
            ended = os.waitid(os.P_PID, command.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is not None:
                _kill_group(command.pid, signal.SIGKILL)
                del self._commands[number]
                self._tell({"ended": number, "code": command.wait()})

    def _tell(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            os.write(self._reports, json.dumps(message).encode() + b"\n")


class _DieWithSpawner:
    """Runs in the new process before the command: the kernel kills it when the spawner dies."""

    def __init__(self) -> None:
        self._spawner = os.getpid()

    def __call__(self) -> None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        for default in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(default, signal.SIG_DFL)
        if os.getppid() != self._spawner:
            os._exit(1)


def _kill_group(leader: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


_prctl: Callable[..., int] = ctypes.CDLL(None, use_errno=True).prctl
