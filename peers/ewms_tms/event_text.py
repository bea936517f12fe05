"""The job event log's text, as HTCondor writes it: how each event of the local adapter is written.

Guarantees that an event goes to the file in one append, so that writers in many processes never
mix, and that no text from outside can end an event or begin one. Imports nothing but the standard
library's light modules: the starter of each worker loads it. Must never read a log; that is
`event_log`.
"""

from __future__ import annotations

import os
import re
import time

__all__ = [
    "aborted",
    "append",
    "cluster_removed",
    "cluster_submitted",
    "ended_by_signal",
    "evicted",
    "executing",
    "exited",
    "factory_paused",
    "factory_resumed",
    "generic",
    "held",
    "job_submitted",
    "one_line",
    "released",
]

_CLUSTER_PROC = -1
_MAX_TEXT = 2048
# HTCondor's own reader insists on the usage of an ended run.
_USAGE = "".join(
    f"\t\tUsr 0 00:00:00, Sys 0 00:00:00  -  {of} Usage\n" for of in ("Run Remote", "Run Local")
)
_TOTAL_USAGE = _USAGE.replace("Run ", "Total ")
_BYTES = "\t0  -  Run Bytes Sent By Job\n\t0  -  Run Bytes Received By Job\n"
_TOTAL_BYTES = _BYTES.replace("Run ", "Total ")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")


def one_line(text: str) -> str:
    """The text without control characters and line ends, at most 2,048 characters of it."""
    return _CONTROL.sub(" ", text).strip()[:_MAX_TEXT]


def append(path: str, *events: str, is_durable: bool = False) -> None:
    """Append events to a log, all in one write; if `is_durable`, wait until the disk has them.

    A write that a full disk cut short is followed by the whole of it once more, on a new line:
    a reader skips what is torn.

    Raises
    ------
    OSError
        When nothing, or not all of it, could be written.
    """
    text = "".join(events).encode(errors="replace")
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if os.write(descriptor, text) != len(text):
            again = b"\n" + text
            if os.write(descriptor, again) != len(again):
                raise OSError(f"{path}: no room for an event")
        if is_durable:
            os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def cluster_submitted(cluster: int, host: str, notes: str) -> str:
    """A cluster is in the queue; `notes` come back with the event."""
    head = f"Cluster submitted from host: {host}\n"
    return _event(35, cluster, _CLUSTER_PROC, f"{head}    {one_line(notes)}\n")


def cluster_removed(cluster: int, n_materialized: int, n_asked: int) -> str:
    """A cluster has left the queue: the last event of it."""
    how = "Complete" if n_materialized >= n_asked else "Incomplete"
    body = f"Cluster removed\n\tMaterialized {n_materialized} jobs from {n_asked} items.\t{how}\n"
    return _event(36, cluster, _CLUSTER_PROC, body)


def factory_paused(cluster: int, reason: str, hold_code: int) -> str:
    """No more procs of the cluster are made for now."""
    body = (
        f"Job Materialization Paused\n\t{one_line(reason)}\n\tPauseCode 1\n\tHoldCode {hold_code}\n"
    )
    return _event(37, cluster, _CLUSTER_PROC, body)


def factory_resumed(cluster: int) -> str:
    """Procs of the cluster are made again."""
    return _event(38, cluster, _CLUSTER_PROC, "Job Materialization Resumed\n")


def job_submitted(cluster: int, proc: int, host: str) -> str:
    """A proc is in the queue."""
    return _event(0, cluster, proc, f"Job submitted from host: {host}\n")


def executing(cluster: int, proc: int, host: str) -> str:
    """A proc's worker is about to run its first instruction."""
    return _event(1, cluster, proc, f"Job executing on host: {host}\n")


def evicted(cluster: int, proc: int, reason: str, signal: int | None = None) -> str:
    """A proc's worker has ended without ending the proc, which is idle again."""
    if signal is None:
        body = f"Job was evicted.\n\t(0) Job was not checkpointed.\n{_USAGE}{_BYTES}"
    else:
        body = (
            f"Job was evicted.\n\t(0) Job terminated and was requeued\n{_USAGE}{_BYTES}"
            f"\t(0) Abnormal termination (signal {signal})\n\t(0) No core file\n"
        )
    return _event(4, cluster, proc, f"{body}\t{one_line(reason)}\n")


def exited(cluster: int, proc: int, code: int) -> str:
    """A proc's worker exited, and the proc has ended with it."""
    body = f"Job terminated.\n\t(1) Normal termination (return value {code})\n"
    return _event(5, cluster, proc, f"{body}{_USAGE}{_TOTAL_USAGE}{_BYTES}{_TOTAL_BYTES}")


def ended_by_signal(cluster: int, proc: int, number: int) -> str:
    """A proc's worker was ended by a signal, and the proc has ended with it."""
    body = f"Job terminated.\n\t(0) Abnormal termination (signal {number})\n\t(0) No core file\n"
    return _event(5, cluster, proc, f"{body}{_USAGE}{_TOTAL_USAGE}{_BYTES}{_TOTAL_BYTES}")


def generic(cluster: int, proc: int, text: str) -> str:
    """What a worker has to say of itself."""
    return _event(8, cluster, proc, f"{one_line(text)}\n")


def aborted(cluster: int, proc: int, reason: str) -> str:
    """A proc was removed."""
    return _event(9, cluster, proc, f"Job was aborted.\n\t{one_line(reason)}\n")


def held(cluster: int, proc: int, reason: str, code: int, subcode: int = 0) -> str:
    """A proc waits until it is released; the code is HTCondor's HoldReasonCode."""
    body = f"Job was held.\n\t{one_line(reason)}\n\tCode {code} Subcode {subcode}\n"
    return _event(12, cluster, proc, body)


def released(cluster: int, proc: int, reason: str) -> str:
    """A held proc is idle again."""
    return _event(13, cluster, proc, f"Job was released.\n\t{one_line(reason)}\n")


def _event(number: int, cluster: int, proc: int, body: str) -> str:
    now = time.time()
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(now))
    milliseconds = int(now * 1000) % 1000
    return f"{number:03d} ({cluster:03d}.{proc:03d}.000) {moment}.{milliseconds:03d}Z {body}...\n"
