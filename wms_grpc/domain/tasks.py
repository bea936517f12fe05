"""What a task of a workflow does, and what is done when it fails, in no particular language.

Pure values, the common ground of the gateway, the contract and the engine. Durations are seconds,
sizes are text as in `WorkerConfig` (`512M`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from wms_grpc.domain.model import PilotConfig, WorkerConfig
from wms_grpc.domain.nets import Annotations

__all__ = [
    "AbortRule",
    "BatchWork",
    "ContainerWork",
    "CustomWork",
    "NoopWork",
    "Recovery",
    "Role",
    "Script",
    "SubWorkflowWork",
    "SuccessRule",
    "Task",
    "Transfer",
    "TransferWork",
    "WaitWork",
    "Work",
]

Role = Literal["node", "final", "service", "provisioner"]
"""`node`: part of the net; `final`: once, at its end; `service`: beside it, and not counting."""


@dataclass(frozen=True, slots=True)
class ContainerWork:
    """EWMS's own: pilots that run a container on each event of their queues."""

    cluster_locations: tuple[str, ...]
    input_aliases: tuple[str, ...]
    output_aliases: tuple[str, ...]
    task_image: str
    task_args: str = ""
    task_env: Mapping[str, str] = field(default_factory=dict)
    init_image: str = ""
    init_args: str = ""
    init_env: Mapping[str, str] = field(default_factory=dict)
    n_workers: int = 1
    worker_config: WorkerConfig = field(default_factory=WorkerConfig)
    pilot_config: PilotConfig = field(default_factory=PilotConfig)
    max_dead_letters: int | None = None


@dataclass(frozen=True, slots=True)
class SuccessRule:
    """When a cluster of procs has succeeded: at least `at_least` of them, or that share.

    Both None: all of them exit with 0.
    """

    at_least: int | None = None
    share: float | None = None


@dataclass(frozen=True, slots=True)
class BatchWork:
    """A plain job or cluster of jobs, without a pilot.

    Parameters
    ----------
    executable, image
        A file of the bundle, a URL or a path at the worker; or a container's image. Both: the
        executable within the image.
    arguments, environment
        Of each proc.
    stdin, stdout, stderr
        Names of files; empty: none.
    inputs, outputs
        Files staged in before, and kept after; an input may be `task:<name>/<file>`, the output of
        another task.
    n_procs
        How many procs the cluster has. `$(Process)` stands in arguments for their number.
    requirements, rank
        Expressions over a machine's attributes, in the words of the language.
    attributes
        Further attributes of the job, by their names in HTCondor's submit language.
    """

    executable: str = ""
    image: str = ""
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    stdin: str = ""
    stdout: str = ""
    stderr: str = ""
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    n_procs: int = 1
    n_cores: int | None = None
    memory: str = ""
    disk: str = ""
    max_runtime: int | None = None
    requirements: str = ""
    rank: str = ""
    cluster_locations: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    success: SuccessRule = field(default_factory=SuccessRule)


@dataclass(frozen=True, slots=True)
class Transfer:
    """One file, from a URL or a name in the workflow's store to another."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class TransferWork:
    """Stages files in or out."""

    transfers: tuple[Transfer, ...]
    cluster_locations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SubWorkflowWork:
    """Another workflow. `file` names it in the bundle; `engine`: `ewms` or `dagman`."""

    language: str
    file: str
    engine: Literal["ewms", "dagman"] = "ewms"


@dataclass(frozen=True, slots=True)
class WaitWork:
    """A timer of so many seconds, or a signal of that name; one of the two."""

    seconds: float | None = None
    signal: str = ""


@dataclass(frozen=True, slots=True)
class NoopWork:
    """Nothing: an ordering with a name."""


@dataclass(frozen=True, slots=True)
class CustomWork:
    """A kind of somebody's own, with what its plug-in is to know."""

    kind: str
    struct: Mapping[str, object] = field(default_factory=dict)


Work = ContainerWork | BatchWork | TransferWork | SubWorkflowWork | WaitWork | NoopWork | CustomWork


@dataclass(frozen=True, slots=True)
class Script:
    """A small job before or after a task's own, part of each try."""

    executable: str
    arguments: tuple[str, ...] = ()
    defer_status: int | None = None
    defer_seconds: int = 0


@dataclass(frozen=True, slots=True)
class Recovery:
    """What is done when a task fails.

    Parameters
    ----------
    max_tries
        How often it is tried in all; 1: no retry.
    backoff
        Seconds before the second try; doubled for each further one.
    retry_on
        What a retry helps against: `exit:<code>`, `signal:<number>`, `hold:<code>`, `pilot`.
        Empty: anything.
    never_on
        Exit codes after which there is no further try.
    then
        What follows the last try. `fallback` and `compensate` run the task `task`.
    """

    max_tries: int = 1
    backoff: float = 0.0
    retry_on: tuple[str, ...] = ()
    never_on: tuple[int, ...] = ()
    then: Literal["fail", "skip", "fallback", "compensate"] = "fail"
    task: str = ""


@dataclass(frozen=True, slots=True)
class AbortRule:
    """When the task exits with `exit_code`, the whole workflow stops.

    `returned` is its exit code then, 0 being a success; None: the task's own.
    """

    exit_code: int
    returned: int | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """A task. Names are unique in a workflow.

    `is_done`: it succeeded before, and is not run. `pre_skip`: the exit code of `pre` by which the
    task counts as done without being run. A higher `priority` starts first; `category` is for
    limits.
    """

    name: str
    work: Work
    role: Role = "node"
    recovery: Recovery = field(default_factory=Recovery)
    pre: Script | None = None
    post: Script | None = None
    pre_skip: int | None = None
    abort: AbortRule | None = None
    priority: int = 0
    category: str = ""
    is_done: bool = False
    annotations: Annotations = field(default_factory=dict)
