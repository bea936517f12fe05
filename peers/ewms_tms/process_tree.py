"""Processes below one of ours, found by the kernel's own records in /proc.

Light, since the starter of each worker loads it. A process that ends while it is looked at is
none: nothing here fails for that.
"""

from __future__ import annotations

import os
import select
import signal

__all__ = [
    "descendants",
    "kill_descendants",
    "kill_session",
    "list_folder",
    "read_text",
    "reap_orphans",
    "resident_bytes",
]

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_KILL_WAIT_MS = 5000


def descendants(pid: int) -> list[int]:
    """All processes below this one; complete if it is a subreaper, to whom orphans come."""
    found: list[int] = []
    queue = [pid]
    while queue:
        parent = queue.pop()
        for task in list_folder(f"/proc/{parent}/task"):
            children = read_text(f"/proc/{parent}/task/{task}/children")
            queue += map(int, (children or "").split())
        found.append(parent)
    return found[1:]


def kill_descendants() -> None:
    """Kill and reap until nothing is left below this process, which is a subreaper."""
    while True:
        for pid in descendants(os.getpid()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def reap_orphans(but: int) -> None:
    """Take the exit status of every child that has ended, except one."""
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or ended.si_pid == but:
            return
        os.waitpid(ended.si_pid, 0)


def kill_session(leader: int) -> None:
    """Kill what is left of a session whose leader has ended, and wait until it is gone.

    As long as a member lives the kernel gives the leader's number to no other process; so a
    process of that number means that there is no member left.
    """
    if os.path.exists(f"/proc/{leader}"):
        return
    for name in list_folder("/proc"):
        if not name.isdigit() or _session_of(name) != leader:
            continue
        try:
            descriptor = os.pidfd_open(int(name))
        except ProcessLookupError:
            continue
        try:
            if _session_of(name) == leader:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                _await_end(descriptor)
        except ProcessLookupError:
            continue
        finally:
            os.close(descriptor)


def _await_end(descriptor: int) -> None:
    """Wait, for a bounded time, until a process's descriptor says that it has ended."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    poll.poll(_KILL_WAIT_MS)


def resident_bytes(pid: int) -> int:
    """Memory of a process; 0 once it has ended."""
    fields = (read_text(f"/proc/{pid}/statm") or "").split()
    return int(fields[1]) * _PAGE_BYTES if len(fields) > 1 else 0


def read_text(path: str) -> str | None:
    """A small file's text; None where there is no such file, or no longer."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None


def list_folder(path: str) -> list[str]:
    """The names in a folder; none where there is no such folder."""
    try:
        return os.listdir(path)
    except (FileNotFoundError, ProcessLookupError):
        return []


def _session_of(pid: str) -> int:
    # The name, in parentheses, may hold anything; the session is the fourth field behind it.
    fields = (read_text(f"/proc/{pid}/stat") or "").rpartition(")")[2].split()
    return int(fields[3]) if len(fields) > 3 else 0
