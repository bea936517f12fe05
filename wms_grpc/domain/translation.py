"""From a submission to a workflow with its task directives, taskforces and queues.

Pure. Checks what no single field can tell: that names are known, that aliases fit together, that
nothing reserved is set. Reports every violation at once, each by its path in the request.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from wms_grpc.domain.errors import InvalidSubmission, Violation
from wms_grpc.domain.ids import (
    Mqid,
    WorkflowId,
    new_mqid,
    new_workflow_id,
    task_id_of,
    taskforce_id,
)
from wms_grpc.domain.model import (
    Cause,
    Phase,
    PhaseChange,
    Queue,
    TaskDirective,
    Taskforce,
    Workflow,
    WorkflowState,
)
from wms_grpc.domain.sizes import parse_size
from wms_grpc.domain.submission import ClusterLocation, ClusterLocations, Submission, TaskSpec

__all__ = [
    "DEFAULT_PRIORITY",
    "PRIORITY_OF_ADDED_WORKERS",
    "Plan",
    "new_taskforce",
    "translate",
    "violations_of",
]

DEFAULT_PRIORITY: Final = 50
PRIORITY_OF_ADDED_WORKERS: Final = 100
_MAX_TASKFORCES: Final = 100_000
_LARGEST_SIZE: Final = 1 << 50

_RESERVED_ENVIRONMENT: Final = re.compile(
    r"EWMS_PILOT_(TASK|INIT)_(IMAGE|ARGS|ENV_JSON)|EWMS_PILOT_QUEUE_.*|EWMS_PILOT_ENV_FILE"
)
_INEXACT_TAG: Final = re.compile(r"v?\d+(\.\d+)?")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is made of a submission."""

    workflow: Workflow
    directives: tuple[TaskDirective, ...]
    taskforces: tuple[Taskforce, ...]
    queues: tuple[Queue, ...]


def translate(submission: Submission, locations: ClusterLocations, now: datetime) -> Plan:
    """Return what is made of the submission; raises InvalidSubmission with every violation."""
    violations = list(violations_of(submission, locations))
    if violations:
        raise InvalidSubmission(violations)
    workflow_id = new_workflow_id(now)
    queues = _queues(submission, workflow_id)
    mqids = {queue.alias: queue.mqid for queue in queues}
    directives = tuple(
        _directive(spec, number, workflow_id, mqids, locations, now)
        for number, spec in enumerate(submission.tasks)
    )
    cause = Cause(f"user {submission.owner}", "submission")
    taskforces = tuple(
        new_taskforce(
            directive,
            _known(locations, location),
            number,
            priority=submission.priority,
            phase=Phase.PRE_MQ_ACTIVATION,
            cause=cause,
            now=now,
        )
        for directive in directives
        for number, location in enumerate(directive.cluster_locations)
    )
    workflow = Workflow(
        workflow_id=workflow_id,
        owner=submission.owner,
        name=submission.name,
        labels=submission.labels,
        priority=submission.priority,
        state=WorkflowState.PENDING,
        pending_reason="its queues are being asked for",
        create_time=now,
        revision=1,
        n_tasks=len(directives),
        n_taskforces=len(taskforces),
        n_unended=len(taskforces),
        activation_due=now,
    )
    return Plan(workflow, directives, taskforces, queues)


def new_taskforce(
    directive: TaskDirective,
    location: ClusterLocation,
    number: int,
    *,
    priority: int,
    phase: Phase,
    cause: Cause,
    now: datetime,
    n_workers: int | None = None,
) -> Taskforce:
    """Return a fresh taskforce of a task, the task's `number`th, in its first phase."""
    waiting_reason = (
        f"its turn at {location.name}" if phase is Phase.PRE_LAUNCH else "the workflow's queues"
    )
    return Taskforce(
        taskforce_uuid=taskforce_id(directive.task_id, number),
        workflow_id=directive.workflow_id,
        task_id=directive.task_id,
        create_time=now,
        priority=priority,
        cluster_location=location.name,
        schedd=location.schedd,
        n_workers=n_workers or directive.n_workers,
        worker_config=directive.worker_config,
        pilot_config=directive.pilot_config,
        phase=phase,
        phase_log=(PhaseChange(phase, now, True, cause),),
        waiting_reason=waiting_reason,
    )


def _directive(
    spec: TaskSpec,
    number: int,
    workflow_id: WorkflowId,
    mqids: dict[str, Mqid],
    locations: ClusterLocations,
    now: datetime,
) -> TaskDirective:
    return TaskDirective(
        task_id=task_id_of(workflow_id, number),
        workflow_id=workflow_id,
        number=number,
        create_time=now,
        name=_name(spec, number),
        cluster_locations=tuple(
            dict.fromkeys(_known(locations, name).name for name in spec.cluster_locations)
        ),
        task_image=spec.task_image,
        task_args=spec.task_args,
        task_env=spec.task_env,
        init_image=spec.init_image,
        init_args=spec.init_args,
        init_env=spec.init_env,
        input_aliases=spec.input_aliases,
        output_aliases=spec.output_aliases,
        input_queues=tuple(mqids[alias] for alias in spec.input_aliases),
        output_queues=tuple(mqids[alias] for alias in spec.output_aliases),
        n_workers=spec.n_workers,
        worker_config=spec.worker_config,
        pilot_config=spec.pilot_config,
    )


def _queues(submission: Submission, workflow_id: WorkflowId) -> tuple[Queue, ...]:
    public = frozenset(submission.public_aliases)
    used = (
        alias for spec in submission.tasks for alias in (*spec.input_aliases, *spec.output_aliases)
    )
    # Public ones first, in the user's order; then the private ones as the tasks name them.
    return tuple(
        Queue(
            mqid=new_mqid(),
            workflow_id=workflow_id,
            number=number,
            alias=alias,
            is_public=alias in public,
        )
        for number, alias in enumerate(dict.fromkeys((*submission.public_aliases, *used)))
    )


def violations_of(submission: Submission, locations: ClusterLocations) -> Iterator[Violation]:
    """Yield what no single field can tell; the submission may break the fields' own rules, too."""
    read = {alias for spec in submission.tasks for alias in spec.input_aliases}
    written = {alias for spec in submission.tasks for alias in spec.output_aliases}
    public = frozenset(submission.public_aliases)
    for index, alias in enumerate(submission.public_aliases):
        if alias not in read and alias not in written:
            yield Violation(f"public_queue_aliases[{index}]", f"no task uses {alias!r}")
    names = Counter(_name(spec, number) for number, spec in enumerate(submission.tasks))
    for index, spec in enumerate(submission.tasks):
        path = f"tasks[{index}]"
        if names[_name(spec, index)] > 1:
            yield Violation(f"{path}.name", f"{_name(spec, index)!r} names another task, too")
        for number, alias in enumerate(spec.input_aliases):
            if alias not in public and alias not in written:
                yield Violation(
                    f"{path}.input_queue_aliases[{number}]",
                    f"nobody writes to {alias!r}: it is not public and no task's output",
                )
        yield from _location_violations(spec, path, locations)
        yield from _config_violations(spec, path)
    if sum(len(spec.cluster_locations) for spec in submission.tasks) > _MAX_TASKFORCES:
        yield Violation("tasks", f"make more than {_MAX_TASKFORCES} taskforces")


def _location_violations(
    spec: TaskSpec, path: str, locations: ClusterLocations
) -> Iterator[Violation]:
    for number, name in enumerate(spec.cluster_locations):
        if locations.find(name) is None:
            yield Violation(
                f"{path}.cluster_locations[{number}]",
                f"{name!r} is no cluster location; known are {', '.join(locations.names)}",
            )


def _config_violations(spec: TaskSpec, path: str) -> Iterator[Violation]:
    for field in ("worker_memory", "worker_disk"):
        size = parse_size(getattr(spec.worker_config, field))
        if not size or size > _LARGEST_SIZE:
            yield Violation(
                f"{path}.worker_config.{field}", "must be a size above zero, at most 1024T"
            )
    if _INEXACT_TAG.fullmatch(spec.pilot_config.tag):
        yield Violation(
            f"{path}.pilot_config.tag", "must be `latest`, an exact x.y.z, or a branch's tag"
        )
    for name in spec.pilot_config.environment:
        if _RESERVED_ENVIRONMENT.fullmatch(name):
            yield Violation(
                f'{path}.pilot_config.environment["{name}"]', "is reserved: the system sets it"
            )
    texts = {
        "task_image": spec.task_image,
        "init_image": spec.init_image,
        "worker_config.condor_requirements": spec.worker_config.condor_requirements,
    }
    for field, text in texts.items():
        if _CONTROL.search(text):
            yield Violation(f"{path}.{field}", "must not hold control characters")


def _name(spec: TaskSpec, number: int) -> str:
    return spec.name or f"task-{number}"


def _known(locations: ClusterLocations, name: str) -> ClusterLocation:
    location = locations.find(name)
    if location is None:
        raise LookupError(name)
    return location
