"""What the TMS and its HTCondor helper say to one another: a call, and the answer to it.

Frozen data on a pipe between a process and its own child, one frame each. Imports neither the
bindings, nor anything that is slow: both sides load it. Calls are answered in their order.
"""

from __future__ import annotations

import pickle
import struct
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, Generic, Literal, TypeVar

from ewms_tms.grid import TaskforceUuid
from ewms_tms.job_events import ClusterId

__all__ = [
    "HEADER",
    "Act",
    "Action",
    "Call",
    "Failure",
    "FailureKind",
    "FindCluster",
    "FoundCluster",
    "Identify",
    "Identity",
    "ListClusters",
    "MeasureRoom",
    "Room",
    "SubmitCluster",
    "frame",
]

Result = TypeVar("Result")
Action = Literal["remove", "hold", "release"]

HEADER = struct.Struct("!I")


def frame(message: object) -> bytes:
    """A message as it goes over the pipe: its length, then itself."""
    body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return HEADER.pack(len(body)) + body


class FailureKind(Enum):
    """What a failure means to whoever asked; the words are HTCondor's in every case."""

    REFUSED = "refused"
    UNAVAILABLE = "unavailable"
    NOTHING_DONE = "nothing done"
    UNKNOWN_CLUSTER = "unknown cluster"


@dataclass(frozen=True)
class Failure:
    """A call that did not work."""

    kind: FailureKind
    words: str


class Call(Generic[Result]):
    """Something to be done by way of the bindings, in `deadline` seconds at most."""

    deadline: ClassVar[float] = 30.0


@dataclass(frozen=True)
class Identity:
    """Whom a schedd takes us for: `account@domain`, and whether it may submit."""

    account: str
    may_write: bool


@dataclass(frozen=True)
class Identify(Call[Identity]):
    """Ask a schedd who we are to it."""

    schedd: str


@dataclass(frozen=True)
class SubmitCluster(Call[ClusterId]):
    """Submit one cluster, in one transaction.

    `lines` are names and values of a submit description, escaped. `requirements` are ClassAd
    expressions, not escaped: each is parsed alone, and what was parsed is printed and anded, so
    that none can reach beyond itself.
    """

    deadline: ClassVar[float] = 60.0

    schedd: str
    lines: tuple[tuple[str, str], ...]
    requirements: tuple[str, ...]
    n_workers: int


@dataclass(frozen=True)
class FoundCluster:
    """A cluster in the queue, by its own ClassAd."""

    cluster_id: ClusterId
    n_workers: int
    submit_time: float
    log_path: str


@dataclass(frozen=True)
class FindCluster(Call[FoundCluster | None]):
    """The cluster in the queue that was submitted under an attempt."""

    schedd: str
    taskforce: TaskforceUuid
    attempt: int


@dataclass(frozen=True)
class Act(Call[None]):
    """Remove, hold or release all of a cluster."""

    schedd: str
    cluster_id: ClusterId
    action: Action
    reason: str


@dataclass(frozen=True)
class ListClusters(Call[frozenset[ClusterId]]):
    """Every cluster of EWMS in the queue."""

    schedd: str


@dataclass(frozen=True)
class Room:
    """What the pool has and has free. A partitionable slot is a slot for each of its cores."""

    total_slots: int
    free_slots: int
    total_cores: int
    free_cores: int
    total_memory_bytes: int
    free_memory_bytes: int


@dataclass(frozen=True)
class MeasureRoom(Call[Room]):
    """Ask the collector for the pool's room."""

    deadline: ClassVar[float] = 10.0
