"""What can happen to a cluster and its procs, as typed events, whatever middleware runs them.

An Observer yields these, the statuses are made from them. Numbers and meaning are those of
HTCondor's job event log, since that is what our first middleware writes; an adapter for another
one translates. Pure data: no parsing, no rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import NewType

__all__ = ["CLUSTER_PROC", "ClusterId", "EventKind", "HoldCode", "JobEvent", "ProcId"]

ClusterId = NewType("ClusterId", int)
ProcId = NewType("ProcId", int)

# The proc of an event that is about a cluster as a whole.
CLUSTER_PROC = ProcId(-1)


class EventKind(IntEnum):
    """The events that change what we know, by their numbers in the job event log."""

    SUBMIT = 0
    EXECUTE = 1
    EVICTED = 4
    TERMINATED = 5
    SHADOW_EXCEPTION = 7
    GENERIC = 8
    ABORTED = 9
    SUSPENDED = 10
    UNSUSPENDED = 11
    HELD = 12
    RELEASED = 13
    DISCONNECTED = 22
    RECONNECTED = 23
    RECONNECT_FAILED = 24
    ATTRIBUTE_UPDATE = 33
    CLUSTER_SUBMIT = 35
    CLUSTER_REMOVE = 36
    FACTORY_PAUSED = 37
    FACTORY_RESUMED = 38


class HoldCode(IntEnum):
    """HTCondor's HoldReasonCode, as far as we cause it."""

    USER_REQUEST = 1
    JOB_POLICY = 3
    MEMORY_EXCEEDED = 34
    JOB_DURATION_EXCEEDED = 46


@dataclass(frozen=True, slots=True)
class JobEvent:
    """One event of one proc, or of a cluster (`proc` is then `CLUSTER_PROC`).

    `text` is a generic event's own text, `NAME: VALUE` of an attribute that the job has set in its
    ad, a cluster's submission notes, or the reason of a hold, an eviction or an end; empty where
    there is none. `exit_code` and `signal` belong to
    TERMINATED (and EVICTED, where a signal caused it), `hold_code` to HELD and FACTORY_PAUSED.
    """

    kind: EventKind
    cluster: ClusterId
    proc: ProcId
    time: datetime
    text: str = ""
    exit_code: int | None = None
    signal: int | None = None
    hold_code: int | None = None
    hold_subcode: int | None = None
