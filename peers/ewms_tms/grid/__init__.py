"""What the TMS asks of a middleware: four small interfaces, and the types that they speak of.

An adapter is one `Grid` a schedd. The TMS knows nothing else of it, and a new adapter touches
nothing else. Guarantees asked of each are written at the methods; `tests/integration/grid` holds
every adapter to them. No rules, no I/O here.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NewType, Protocol

from ewms_tms.job_events import ClusterId, JobEvent

__all__ = [
    "BatchJob",
    "Capacity",
    "Cluster",
    "DataTransfer",
    "Dispatcher",
    "Grid",
    "GridError",
    "GridUnavailable",
    "NothingDone",
    "Observation",
    "Observer",
    "Refused",
    "Reservation",
    "Submission",
    "TaskforceUuid",
    "UnknownCluster",
    "WorkerLimits",
]

TaskforceUuid = NewType("TaskforceUuid", str)


class GridError(Exception):
    """Anything that a middleware can answer other than that it worked."""


class Refused(GridError):
    """The request itself can never work: its words say why. Trying again does not help."""


class GridUnavailable(GridError):
    """The middleware, or the machine below it, does not work now. What was asked may be done."""


class NothingDone(GridUnavailable):
    """The middleware does not work now, and it is certain that nothing was done."""


class UnknownCluster(GridError):
    """The middleware has no such cluster, or no longer."""


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """What one worker asks for: cores, bytes, seconds, and its priority among its like."""

    n_cores: int
    memory_bytes: int
    disk_bytes: int
    max_runtime_seconds: int
    priority: int


@dataclass(frozen=True, slots=True)
class BatchJob:
    """What each proc runs in the place of a pilot; `$(Process)` in an argument is its number."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Submission:
    """A taskforce as it goes to the middleware; `job` is None where its workers are pilots.

    `description` is what may be shown of it; `environment` holds secrets, and travels in a file
    of mode 0600 that only the pilot reads.
    """

    taskforce: TaskforceUuid
    attempt: int
    n_workers: int
    limits: WorkerLimits
    keep_output: bool
    input_files: tuple[str, ...]
    description: Mapping[str, str]
    environment: Mapping[str, str] = field(repr=False)
    job: BatchJob | None = None


@dataclass(frozen=True, slots=True)
class Cluster:
    """A taskforce in the middleware's queue."""

    cluster_id: ClusterId
    taskforce: TaskforceUuid
    attempt: int
    n_workers: int
    submit_time: datetime
    log_path: str


@dataclass(frozen=True, slots=True)
class Observation:
    """Events of one log in their order; `is_caught_up` once all that is in any log is told."""

    events: Sequence[JobEvent]
    is_caught_up: bool
    log_path: str = ""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a pool has and has free; idle and running are our own workers."""

    total_slots: int
    free_slots: int
    total_cores: int
    free_cores: int
    total_memory_bytes: int
    free_memory_bytes: int
    n_idle_workers: int
    n_running_workers: int


class Dispatcher(Protocol):
    """Puts clusters into the queue, and takes them out."""

    async def submit(self, submission: Submission) -> Cluster:
        """Submit once; nothing of it is in the queue unless `find` finds it.

        Raises
        ------
        Refused
            What is asked for can never work.
        NothingDone
            It does not work now; the cluster is not in the queue.
        GridUnavailable
            It is not known whether the cluster is in the queue.
        """
        ...

    async def find(self, taskforce: TaskforceUuid, attempt: int) -> Cluster | None:
        """The cluster that was submitted under this attempt, however its submission ended.

        Raises
        ------
        GridUnavailable
            It cannot be said now.
        """
        ...

    async def living(self) -> frozenset[ClusterId]:
        """Every cluster of EWMS that is in the queue. Asked for seldom.

        Raises
        ------
        GridUnavailable
            It cannot be said now.
        """
        ...

    async def remove(self, cluster_id: ClusterId, reason: str) -> None:
        """Have a cluster removed, also across restarts; repeated, it changes nothing.

        Raises
        ------
        UnknownCluster
            It is not in the queue, or no longer.
        GridUnavailable
            The removal is not certain.
        """
        ...

    async def hold(self, cluster_id: ClusterId, reason: str) -> None:
        """Hold all that waits or runs of a cluster. Raises as `remove`."""
        ...

    async def release(self, cluster_id: ClusterId, reason: str) -> None:
        """Let a cluster's held procs run again. Raises as `remove`."""
        ...


class Observer(Protocol):
    """Tells what happens to clusters."""

    def follow(self) -> AsyncGenerator[Observation, None]:
        """All events from the beginning of what is kept, then each soon after it happened."""
        ...


class DataTransfer(Protocol):
    """Brings files to where workers are, and back."""

    async def stage_in(self, sources: Sequence[str], folder: Path) -> None:
        """Bring the sources into a folder, each under its last name.

        Raises
        ------
        Refused
            A source that there is not, or that is of a kind which this adapter does not move.
        GridUnavailable
            A source cannot be read now.
        """
        ...

    async def stage_out(self, folder: Path, names: Sequence[str], destination: str) -> None:
        """Bring files of a folder to a destination. Raises as `stage_in`."""
        ...


class Reservation(Protocol):
    """Tells what room there is."""

    def changes(self) -> AsyncIterator[Capacity]:
        """The capacity now, and then again whenever it has changed; what is between is lost."""
        ...


@dataclass(frozen=True, slots=True)
class Grid:
    """One schedd's adapter."""

    schedd: str
    dispatcher: Dispatcher
    observer: Observer
    data_transfer: DataTransfer
    reservation: Reservation
