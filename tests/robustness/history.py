"""What the clients saw, in the order in which they saw it, with monotonic times in seconds.

Every record also goes to a file of JSON lines as it happens, so that a test that is killed leaves
its history behind. Records are facts of one client; what they mean together is for the validation.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

__all__ = [
    "Acknowledged",
    "Called",
    "Consumed",
    "FaultInjected",
    "FeedMessage",
    "Final",
    "History",
    "Offered",
    "Record",
    "StreamEnded",
    "StreamOpened",
    "WatchMessage",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Something that happened to a client. `at`: when it knew."""

    client: str
    at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True, kw_only=True)
class Called(Record):
    """A unary call that has ended. `answer` is None unless `code` is OK."""

    method: str
    server: str
    began: float
    request: Any
    code: str
    answer: Any = None
    details: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOpened(Record):
    """A watch begins, or goes on after `resume`: a revision or a token; None: with a snapshot."""

    stream: str
    server: str
    workflow_id: str = ""
    resume: int | str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchMessage(Record):
    """One message of WatchWorkflow."""

    stream: str
    workflow_id: str
    message: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedMessage(Record):
    """One message of WatchWorkflows."""

    stream: str
    message: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamEnded(Record):
    """A watch is over. `code` is SILENT where the client gave up waiting."""

    stream: str
    code: str
    details: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered(Record):
    """A publisher handed an event over, or (`is_confirmed`) was told that it is durable."""

    workflow_id: str
    alias: str
    event_id: str
    payload: str
    is_confirmed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumed(Record):
    """A delivery reached its consumer."""

    workflow_id: str
    alias: str
    event_id: str
    delivery_id: str
    n_deliveries: int
    payload: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged(Record):
    """The broker's word on an acknowledgement: durable, or (`is_lost`) too late."""

    workflow_id: str
    alias: str
    event_id: str
    delivery_id: str
    is_lost: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultInjected(Record):
    """A fault, from `began` until it was mended. `target`: what it hit, process numbers too."""

    kind: str
    target: str
    began: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Final(Record):
    """A workflow and its taskforces, history and dead letters as they stay. `label`: the story."""

    workflow_id: str
    workflow: Any
    taskforces: tuple[Any, ...]
    entries: tuple[Any, ...]
    dead_payloads: tuple[str, ...]


_R = TypeVar("_R", bound=Record)


class History:
    """Records in memory, and all of them in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("a", encoding="utf-8")
        self._records: list[Record] = []
        self._recorded = asyncio.Event()
        self.n_consumed = 0
        self.n_workflows = 0

    def close(self) -> None:
        """Nothing more is recorded."""
        self._file.close()

    def add(self, record: Record) -> None:
        """Record something."""
        self._records.append(record)
        self.n_consumed += isinstance(record, Consumed)
        self.n_workflows += isinstance(record, Final)
        line = {"kind": type(record).__name__, **_plain(record)}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        self._recorded.set()

    async def next_record(self) -> None:
        """Until something more is recorded. For one waiter at a time."""
        self._recorded.clear()
        await self._recorded.wait()

    def of(self, kind: type[_R]) -> Iterator[_R]:
        """All records of a kind, oldest first."""
        return (record for record in self._records if isinstance(record, kind))


def _plain(record: Record) -> dict[str, Any]:
    return {item.name: _value(getattr(record, item.name)) for item in fields(record)}


def _value(value: Any) -> Any:
    if isinstance(value, Message):
        return MessageToDict(value, preserving_proto_field_name=True)
    if isinstance(value, tuple):
        return [_value(item) for item in value]
    return value
