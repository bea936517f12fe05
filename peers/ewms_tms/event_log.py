"""Reads the text of an HTCondor job event log, as it grows, into typed events.

Guarantees that an event is yielded once, when its last line is there; that a half-written one at
the end is waited for, and that a corrupt one is skipped, and counted, only once another follows
it. Events that change nothing for us are passed over. Knows text only: it opens no file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from ewms_tms.job_events import ClusterId, EventKind, JobEvent, ProcId

__all__ = ["EventParser"]

_HEADER = re.compile(
    r"(?P<kind>\d{3}) \((?P<cluster>\d+)\.(?P<proc>-?\d+)\.-?\d+\) "
    r"(?:(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)[ T]|(?P<us_month>\d\d)/(?P<us_day>\d\d) )"
    r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)(?:\.(?P<fraction>\d{1,6}))?"
    r"(?P<zone>Z|[+-]\d\d:?\d\d)? ?(?P<title>.*)"
)
_EXITED = re.compile(r"\(1\) Normal termination \(return value (-?\d+)\)")
_SIGNALLED = re.compile(r"\(0\) Abnormal termination \(signal (\d+)\)")
_HOLD_CODE = re.compile(r"(?:HoldCode|Code) (\d+)(?:\s+Subcode (\d+))?")
_DETAIL_LINE = re.compile(r"\([01]\) |\d+ {2}- {2}|Usr \d|PauseCode|HoldCode|Code \d|Partitionable")
# What it was before may have the words of the line itself in it, but within quotes.
_ATTRIBUTE = re.compile(
    r"(?:Setting|Changing) job attribute (?P<name>\w+) "
    r'(?:from (?:"(?:[^"\\]|\\.)*"|\S+) )?to (?P<value>.*)'
)
_END = "..."
# An event without an end cannot be ours, nor HTCondor's: it is given up, not kept for ever.
_MAX_LINES = 10_000
_KINDS = {int(kind): kind for kind in EventKind}


class _Corrupt(Exception):
    """A block of lines that is no event."""


class EventParser:
    """The events of one log file, fed with its bytes in order, in parts of any size."""

    def __init__(self) -> None:
        self.n_corrupt = 0
        self._rest = b""
        self._block: list[str] = []
        self._is_broken = False

    def feed(self, data: bytes) -> Iterator[JobEvent]:
        """The events that these bytes complete. Exhaust it before the next call."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            event = self._take(line.decode(errors="replace").rstrip("\r"))
            if event is not None:
                yield event

    def _take(self, line: str) -> JobEvent | None:
        if _HEADER.match(line):
            if self._block:
                self.n_corrupt += 1
            self._block, self._is_broken = [line], False
        elif line != _END:
            self._gather(line)
        elif self._block and not self._is_broken:
            try:
                event = _event(self._block)
            except _Corrupt:
                self._is_broken = True
                return None
            self._block = []
            return event
        return None

    def _gather(self, line: str) -> None:
        if not self._block:
            if not line.strip():
                return
            # A torn event may stand before a whole one in the same line.
            behind = _HEADER.search(line)
            self.n_corrupt += behind is not None
            self._block, self._is_broken = [behind.group() if behind else line], behind is None
        elif len(self._block) < _MAX_LINES:
            self._block.append(line)
        else:
            self._is_broken = True


def _event(lines: list[str]) -> JobEvent | None:
    header = _HEADER.match(lines[0])
    if header is None:
        raise _Corrupt
    kind = _KINDS.get(int(header["kind"]))
    if kind is None:
        return None
    body = [line.strip() for line in lines[1:]]
    try:
        details = _DETAILS.get(kind, _reason)(header["title"], body)
        return JobEvent(
            kind=kind,
            cluster=ClusterId(int(header["cluster"])),
            proc=ProcId(int(header["proc"])),
            time=_moment(header),
            **details,
        )
    except ValueError as error:
        raise _Corrupt from error


def _moment(header: re.Match[str]) -> datetime:
    """The event's time; a log without zone is in this machine's, one without year is recent."""
    clock = time(
        int(header["hour"]),
        int(header["minute"]),
        int(header["second"]),
        int((header["fraction"] or "").ljust(6, "0")),
    )
    if header["year"]:
        day = date(int(header["year"]), int(header["month"]), int(header["day"]))
        zone = header["zone"] or ""
        if zone.startswith(("+", "-")):
            return datetime.fromisoformat(f"{datetime.combine(day, clock).isoformat()}{zone}")
        return datetime.combine(day, clock, UTC if zone else None).astimezone(UTC)
    now = datetime.now()
    for year in range(now.year, now.year - 5, -1):
        try:
            day = date(year, int(header["us_month"]), int(header["us_day"]))
        except ValueError:
            continue  # the 29th of February of another year
        moment = datetime.combine(day, clock)
        if moment <= now + timedelta(days=1):
            return moment.astimezone(UTC)
    raise ValueError("no such day")


def _generic(title: str, _body: list[str]) -> dict[str, Any]:
    return {"text": title.strip()}


def _attribute(title: str, _body: list[str]) -> dict[str, Any]:
    found = _ATTRIBUTE.match(title)
    if found is None:
        raise ValueError("no attribute is set")
    return {"text": f"{found['name']}: {found['value'].strip()}"}


def _notes(_title: str, body: list[str]) -> dict[str, Any]:
    return {"text": " ".join(line for line in body if line)}


def _reason(_title: str, body: list[str]) -> dict[str, Any]:
    told = (line for line in body if line and not _DETAIL_LINE.match(line))
    return {"text": next(told, "").removeprefix("Reason: ")}


def _ending(title: str, body: list[str]) -> dict[str, Any]:
    text = "\n".join(body)
    exited, signalled = _EXITED.search(text), _SIGNALLED.search(text)
    return {
        **_reason(title, body),
        "exit_code": int(exited[1]) if exited else None,
        "signal": int(signalled[1]) if signalled else None,
    }


def _terminated(title: str, body: list[str]) -> dict[str, Any]:
    ending = _ending(title, body)
    if ending["exit_code"] is None and ending["signal"] is None:
        raise ValueError("an end without a result")
    return {**ending, "text": ""}


def _held(title: str, body: list[str]) -> dict[str, Any]:
    codes = next((found for line in body if (found := _HOLD_CODE.match(line))), None)
    return {
        **_reason(title, body),
        "hold_code": int(codes[1]) if codes else None,
        "hold_subcode": int(codes[2]) if codes and codes[2] else None,
    }


_DETAILS: dict[EventKind, Callable[[str, list[str]], dict[str, Any]]] = {
    EventKind.GENERIC: _generic,
    EventKind.ATTRIBUTE_UPDATE: _attribute,
    EventKind.CLUSTER_SUBMIT: _notes,
    EventKind.EVICTED: _ending,
    EventKind.TERMINATED: _terminated,
    EventKind.HELD: _held,
    EventKind.FACTORY_PAUSED: _held,
}
