"""A worker of the local adapter as the TMS sees it: a lock that is held, and a process that ends.

Guarantees that a proc has at most one starter: the lock is taken here, before the starter exists,
and handed down to it, and never let go in between. A TMS that was killed finds its workers again
by their locks. Blocking: call it in a thread.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from ewms_tms.job_events import ProcId
from ewms_tms.process_tree import kill_session

__all__ = ["LocalWorker", "adopt_worker", "clear_away", "is_locked", "start_worker"]

_STARTER = Path(__file__).with_name("local_starter.py")
_PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# A starter writes its number into its lock within milliseconds; a machine under load takes longer.
_ADOPTION_SECONDS = 10.0
_LOOK_SECONDS = 0.01


@dataclass(eq=False, slots=True)
class LocalWorker:
    """A starter that lives, or has just ended. `descriptor` becomes readable at its end."""

    folder: Path
    proc: ProcId
    pid: int
    descriptor: int
    child: subprocess.Popen[bytes] | None = None
    told: set[signal.Signals] = field(default_factory=set)

    def tell(self, number: signal.Signals) -> None:
        """Send the starter a signal, each at most once."""
        if number not in self.told:
            self.told.add(number)
            try:
                signal.pidfd_send_signal(self.descriptor, number)
            except ProcessLookupError:
                return  # its end is on its way to us

    def let_go(self) -> None:
        """Watch it no longer, whether it lives or not."""
        if self.child is not None:
            self.child.poll()
        os.close(self.descriptor)

    def bury(self) -> None:
        """After its end: let nothing of it remain."""
        if self.child is not None:
            self.child.wait()
        os.close(self.descriptor)


def start_worker(folder: Path, proc: ProcId) -> LocalWorker | None:
    """Start a proc's worker, detached; None if it has one already.

    Raises
    ------
    OSError
        The starter could not be run.
    """
    lock = _open_lock(folder, proc)
    try:
        if not _try_lock(lock):
            return None
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_STARTER), str(folder), str(proc), str(lock)],
            pass_fds=(lock,),
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
        )
    finally:
        os.close(lock)
    return LocalWorker(folder, proc, child.pid, os.pidfd_open(child.pid), child)


def adopt_worker(folder: Path, proc: ProcId) -> LocalWorker | None:
    """The worker that an earlier TMS started and that still runs; None if there is none.

    Raises
    ------
    TimeoutError
        The lock is held, and its holder does not say who it is.
    """
    deadline = time.monotonic() + _ADOPTION_SECONDS
    while is_locked(folder, proc):
        worker = _holder(folder, proc)
        if worker is not None:
            return worker
        if time.monotonic() > deadline:
            raise TimeoutError(f"{folder}: the lock of proc {proc} is held by an unknown process")
        time.sleep(_LOOK_SECONDS)
    return None


def _holder(folder: Path, proc: ProcId) -> LocalWorker | None:
    pid = _starter_pid(folder, proc)
    if pid is None:
        return None
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    # Of this boot, of this name, and the lock is still held: it is the holder.
    if _is_starter(pid, folder, proc) and is_locked(folder, proc):
        return LocalWorker(folder, proc, pid, descriptor)
    os.close(descriptor)
    return None


def is_locked(folder: Path, proc: ProcId) -> bool:
    """Whether a starter of this proc lives."""
    lock = _open_lock(folder, proc)
    try:
        return not _try_lock(lock)
    finally:
        os.close(lock)


def clear_away(folder: Path, proc: ProcId) -> None:
    """Kill what a starter that was killed has left behind."""
    pid = _starter_pid(folder, proc)
    if pid is not None:
        kill_session(pid)


def _starter_pid(folder: Path, proc: ProcId) -> int | None:
    """Who wrote itself into the lock last; None for a process of an earlier boot."""
    pid, _, boot_id = _lock_path(folder, proc).read_text().partition("\n")[0].partition(" ")
    return int(pid) if pid and boot_id == _BOOT_ID.read_text().strip() else None


def _is_starter(pid: int, folder: Path, proc: ProcId) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return [os.fsencode(folder), str(proc).encode()] == command[-4:-2]


def _lock_path(folder: Path, proc: ProcId) -> Path:
    return folder / f"{proc}.lock"


def _open_lock(folder: Path, proc: ProcId) -> int:
    return os.open(_lock_path(folder, proc), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
