"""The nouns of the system as plain frozen values: what a row holds and what the rules work on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

from wms_grpc.domain.ids import Mqid, TaskforceId, TaskId, WorkflowId

if TYPE_CHECKING:
    # The kinds of task are made of the values here.
    from wms_grpc.domain.tasks import Recovery, Work

__all__ = [
    "Assignment",
    "Cause",
    "CompoundStatuses",
    "HistoryKind",
    "HistoryLine",
    "Outcome",
    "Phase",
    "PhaseChange",
    "PilotConfig",
    "Queue",
    "TaskDirective",
    "TaskState",
    "Taskforce",
    "WorkerConfig",
    "Workflow",
    "WorkflowState",
]

CompoundStatuses = Mapping[str, Mapping[str, int]]
Assignment = Literal["start", "stop"]
HistoryKind = Literal["REQUEST", "STATE_CHANGE", "PHASE_CHANGE", "REPORT", "QUEUE", "TASK"]
OutcomeKind = Literal["exit_code", "signal", "hold_code", "removed"]


class WorkflowState(StrEnum):
    """Where a workflow stands; the names are the contract's."""

    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    FINISHED = "FINISHED"
    ABORTED = "ABORTED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"

    @property
    def is_terminal(self) -> bool:
        """Whether the workflow has ended."""
        return self in _TERMINAL


_TERMINAL = frozenset(
    {
        WorkflowState.FINISHED,
        WorkflowState.ABORTED,
        WorkflowState.SUCCEEDED,
        WorkflowState.FAILED,
    }
)


class Phase(StrEnum):
    """Where a taskforce stands; the names are the contract's."""

    PRE_MQ_ACTIVATION = "PRE_MQ_ACTIVATION"
    PRE_LAUNCH = "PRE_LAUNCH"
    PENDING_STARTER = "PENDING_STARTER"
    CONDOR_SUBMIT = "CONDOR_SUBMIT"
    PENDING_STOPPER = "PENDING_STOPPER"
    CONDOR_RM = "CONDOR_RM"
    CONDOR_COMPLETE = "CONDOR_COMPLETE"
    FAILED = "FAILED"

    @property
    def has_ended(self) -> bool:
        """Whether nothing of the taskforce runs or will run."""
        return self is Phase.CONDOR_COMPLETE or self is Phase.FAILED


class TaskState(StrEnum):
    """Where a task of a net stands; the names are the contract's."""

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    RETRYING = "RETRYING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    STOPPED = "STOPPED"


@dataclass(frozen=True, slots=True)
class Cause:
    """Who brings a change about, why, and when by their own clock."""

    source: str
    context: str = ""
    source_event_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class PhaseChange:
    """One attempted change of a phase."""

    target: Phase
    time: datetime
    was_successful: bool
    cause: Cause


@dataclass(frozen=True, slots=True)
class Outcome:
    """How `count` procs of a cluster ended; `value` is 0 for `removed`."""

    kind: OutcomeKind
    value: int
    count: int


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """What one worker asks of its machine; sizes as the user wrote them."""

    do_transfer_worker_stdouterr: bool = False
    max_worker_runtime: int = 86_400
    n_cores: int = 1
    priority: int = 0
    worker_disk: str = "1G"
    worker_memory: str = "1G"
    condor_requirements: str = ""


@dataclass(frozen=True, slots=True)
class PilotConfig:
    """How the pilot on each worker behaves."""

    tag: str = "latest"
    image_source: str = "auto"
    environment: Mapping[str, str] = field(default_factory=dict)
    input_files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow's row.

    Of one with a net, `n_active` counts the occurrences that have not ended, and `n_failures` the
    failures that stand.
    """

    workflow_id: WorkflowId
    owner: str
    name: str
    labels: Mapping[str, str]
    priority: int
    state: WorkflowState
    create_time: datetime
    revision: int
    n_tasks: int
    n_taskforces: int
    n_unended: int
    state_reason: str = ""
    pending_reason: str = ""
    retry_time: datetime | None = None
    active_time: datetime | None = None
    end_time: datetime | None = None
    settled_time: datetime | None = None
    attention: tuple[str, ...] = ()
    hold_running: bool = False
    activation_due: datetime | None = None
    claim_until: datetime | None = None
    release_due: datetime | None = None
    has_net: bool = False
    n_active: int = 0
    n_failures: int = 0

    @property
    def is_granted(self) -> bool:
        """Whether the workflow has its queues, or needs none."""
        return self.active_time is not None


@dataclass(frozen=True, slots=True)
class TaskDirective:
    """A task directive's row; immutable but for the last six.

    `work` is None for a container task, whose fields stand before it. `state` and what follows it
    are of a net, and None or empty where there is none.
    """

    task_id: TaskId
    workflow_id: WorkflowId
    number: int
    create_time: datetime
    name: str
    cluster_locations: tuple[str, ...]
    task_image: str
    task_args: str
    task_env: Mapping[str, str]
    init_image: str
    init_args: str
    init_env: Mapping[str, str]
    input_aliases: tuple[str, ...]
    output_aliases: tuple[str, ...]
    input_queues: tuple[Mqid, ...]
    output_queues: tuple[Mqid, ...]
    n_workers: int
    worker_config: WorkerConfig
    pilot_config: PilotConfig
    depends_on: tuple[str, ...] = ()
    recovery: Recovery | None = None
    work: Work | None = None
    is_done: bool = False
    done_time: datetime | None = None
    stop_due: datetime | None = None
    state: TaskState | None = None
    state_reason: str = ""
    n_tries: int = 0

    @property
    def mqids(self) -> tuple[Mqid, ...]:
        """Its queues, inputs first, each once."""
        return tuple(dict.fromkeys(self.input_queues + self.output_queues))


@dataclass(frozen=True, slots=True)
class Taskforce:
    """A taskforce's row.

    `n_idle` is what it was asked for, less running, held and ended: what counts against its
    location's limit. `assignment` is what its agent is to be told, not before `assignment_due`;
    `assigned_session` is the agent's session that was told and has not answered. `attempt` counts
    pushes; 0 means that no agent was ever told of it.
    """

    taskforce_uuid: TaskforceId
    workflow_id: WorkflowId
    task_id: TaskId
    create_time: datetime
    priority: int
    cluster_location: str
    schedd: str
    n_workers: int
    worker_config: WorkerConfig
    pilot_config: PilotConfig
    phase: Phase
    phase_log: tuple[PhaseChange, ...] = ()
    waiting_reason: str = ""
    cluster_id: int | None = None
    submit_dict: Mapping[str, str] = field(default_factory=dict)
    job_event_log_fpath: str = ""
    compound_statuses: CompoundStatuses = field(default_factory=dict)
    top_task_errors: Mapping[str, int] = field(default_factory=dict)
    status_sequence: int = 0
    n_refusals: int = 0
    n_failures: int = 0
    outcomes: tuple[Outcome, ...] = ()
    condor_complete_time: datetime | None = None
    n_idle: int = 0
    attempt: int = 0
    assignment: Assignment | None = None
    assignment_due: datetime | None = None
    assigned_session: int | None = None
    assigned_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue's row. `is_close_due`: the MQS is to be told to close it.

    `n_dead` are its dead letters, as the MQS told last.
    """

    mqid: Mqid
    workflow_id: WorkflowId
    number: int
    alias: str
    is_public: bool
    is_activated: bool = False
    is_close_requested: bool = False
    is_close_due: bool = False
    is_closed: bool = False
    is_drained: bool = False
    broker_type: str = ""
    broker_address: str = ""
    broker_tls: bool = False
    n_dead: int = 0


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """One line of a workflow's history, before it has its revision."""

    kind: HistoryKind
    subject: str
    what: str
    cause: Cause
    was_successful: bool = True
