"""What a taskforce's workers are doing, made from the events of its cluster. Pure.

Guarantees that the counts of a cluster always add up to the workers that were asked for: procs that
no event has named yet wait. Events may repeat; what they say of a proc is then said again.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from ewms_tms.grid import Cluster
from ewms_tms.hold_reasons import asked_for, hold_words
from ewms_tms.job_events import EventKind, JobEvent, ProcId

__all__ = ["ClusterStatus", "CompoundStatuses", "Outcomes"]

# Job status -> pilot status -> workers.
CompoundStatuses = dict[str, dict[str, int]]

_CHIRP = re.compile(r"HTChirpEWMSPilot(Status|Error)\s*[:=]\s*(.*)")
# Said in the log itself, or in the job's ad, whose changes the log tells of.
_CHIRPS = frozenset((EventKind.GENERIC, EventKind.ATTRIBUTE_UPDATE))
_ESCAPED = re.compile(r"\\(.)")
_N_TOP_ERRORS = 10
_MAX_ERROR_LENGTH = 512
_MAX_DISTINCT_ERRORS = 1_000
_IDLE, _RUNNING, _HELD, _SUSPENDED = "IDLE", "RUNNING", "HELD", "SUSPENDED"
_COMPLETED, _REMOVED = "COMPLETED", "REMOVED"
_STATUS_AFTER = {
    EventKind.SUBMIT: _IDLE,
    EventKind.EXECUTE: _RUNNING,
    EventKind.EVICTED: _IDLE,
    EventKind.TERMINATED: _COMPLETED,
    EventKind.SHADOW_EXCEPTION: _IDLE,
    EventKind.ABORTED: _REMOVED,
    EventKind.SUSPENDED: _SUSPENDED,
    EventKind.UNSUSPENDED: _IDLE,
    EventKind.HELD: _HELD,
    EventKind.RELEASED: _IDLE,
    EventKind.RECONNECT_FAILED: _IDLE,
}


@dataclass(frozen=True, slots=True)
class _Proc:
    status: str = _IDLE
    pilot: str = ""
    hold_code: int | None = None


@dataclass(frozen=True, slots=True)
class Outcomes:
    """How the procs of a cluster ended: result -> how many."""

    exit_codes: Counter[int]
    signals: Counter[int]
    hold_codes: Counter[int]
    n_removed: int


@dataclass(slots=True)
class ClusterStatus:
    """One cluster, as its events so far say."""

    cluster: Cluster
    complete_time: datetime | None = None
    _procs: dict[ProcId, _Proc] = field(default_factory=dict)
    _counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    _unseen: _Proc = field(default_factory=_Proc)
    _errors: Counter[str] = field(default_factory=Counter)
    _exit_codes: Counter[int] = field(default_factory=Counter)
    _signals: Counter[int] = field(default_factory=Counter)
    _hold_codes: Counter[int] = field(default_factory=Counter)

    def apply(self, event: JobEvent) -> bool:
        """Take an event of this cluster into account; whether it may have changed anything."""
        if event.kind is EventKind.CLUSTER_REMOVE:
            self.complete_time = event.time
            self._unseen = _Proc(_REMOVED)
        elif event.kind is EventKind.FACTORY_PAUSED:
            self._unseen = _Proc(_held(event), hold_code=event.hold_code)
        elif event.kind is EventKind.FACTORY_RESUMED:
            self._unseen = _Proc()
        elif event.proc < 0:
            return False
        elif event.kind in _CHIRPS:
            return self._hear(event)
        elif event.kind in _STATUS_AFTER:
            return self._move(event)
        else:
            return False
        return True

    def compound_statuses(self) -> CompoundStatuses:
        """Job status -> pilot status -> workers."""
        compound: CompoundStatuses = {}
        counts = self._counts.copy()
        n_unseen = self.cluster.n_workers - len(self._procs)
        if n_unseen > 0:
            counts[self._unseen.status, self._unseen.pilot] += n_unseen
        for (status, pilot), count in counts.items():
            if count:
                compound.setdefault(status, {})[pilot] = count
        return compound

    def top_task_errors(self) -> dict[str, int]:
        """The ten most common errors of the pilots."""
        return dict(self._errors.most_common(_N_TOP_ERRORS))

    def outcomes(self) -> Outcomes:
        """How the procs ended; those that never ran were removed with the cluster."""
        told = sum(map(Counter.total, (self._exit_codes, self._signals, self._hold_codes)))
        n_removed = max(0, self.cluster.n_workers - told)
        return Outcomes(self._exit_codes, self._signals, self._hold_codes, n_removed)

    def _move(self, event: JobEvent) -> bool:
        before = self._procs.get(event.proc)
        if before is not None and before.status in (_COMPLETED, _REMOVED):
            return False
        status = _STATUS_AFTER[event.kind]
        has_run_end = status in (_IDLE, _RUNNING)
        pilot = "" if before is None or has_run_end else before.pilot
        if status == _HELD:
            if event.text and not asked_for(event.hold_code or 0):
                # The code's words are for all; what went wrong with this one stands in its own.
                self._count_error(f"held: {event.text}")
            self._put(event.proc, _Proc(_held(event), pilot, event.hold_code or 0))
            return True
        self._put(event.proc, _Proc(status, pilot))
        if status == _COMPLETED:
            self._count_end(event)
        elif status == _REMOVED and before is not None and before.hold_code is not None:
            self._hold_codes[before.hold_code] += 1
        return True

    def _count_end(self, event: JobEvent) -> None:
        if event.signal is not None:
            self._signals[event.signal] += 1
        elif event.exit_code is not None:
            self._exit_codes[event.exit_code] += 1

    def _hear(self, event: JobEvent) -> bool:
        chirp = _CHIRP.match(event.text)
        if chirp is None:
            return False
        text = _unquoted(chirp[2].strip())[:_MAX_ERROR_LENGTH]
        if chirp[1] == "Error":
            self._count_error(text)
            return True
        before = self._procs.get(event.proc, _Proc())
        self._put(event.proc, _Proc(before.status, text, before.hold_code))
        return True

    def _count_error(self, text: str) -> None:
        self._errors[text[:_MAX_ERROR_LENGTH]] += 1
        if len(self._errors) > _MAX_DISTINCT_ERRORS:
            self._errors = Counter(dict(self._errors.most_common(_MAX_DISTINCT_ERRORS // 2)))

    def _put(self, proc: ProcId, now: _Proc) -> None:
        before = self._procs.get(proc)
        if before is not None:
            self._counts[before.status, before.pilot] -= 1
        self._procs[proc] = now
        self._counts[now.status, now.pilot] += 1


def _unquoted(value: str) -> str:
    """What a string of the ClassAd language says; anything else says itself."""
    if not value.startswith('"'):
        return value
    return _ESCAPED.sub(r"\1", value[1:].removesuffix('"'))


def _held(event: JobEvent) -> str:
    code = event.hold_code or 0
    subcode = event.hold_subcode or 0
    reason = hold_words(code, subcode, event.text)
    return f"{_HELD}: {reason} (code {code}, subcode {subcode})"
