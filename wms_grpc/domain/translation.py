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
    TaskState,
    Workflow,
    WorkflowState,
)
from wms_grpc.domain.net_plan import NetPlan, kind_of, net_violations, plan_net
from wms_grpc.domain.sizes import parse_size
from wms_grpc.domain.submission import ClusterLocation, ClusterLocations, Submission, TaskSpec
from wms_grpc.domain.tasks import BatchWork, WaitWork

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
    net: NetPlan | None = None


def translate(submission: Submission, locations: ClusterLocations, now: datetime) -> Plan:
    """Return what is made of the submission; raises InvalidSubmission with every violation."""
    violations = list(violations_of(submission, locations))
    if violations:
        raise InvalidSubmission(violations)
    workflow_id = new_workflow_id(now)
    net = plan_net(submission.tasks, _names(submission)) if submission.has_net else None
    queues = _queues(submission, workflow_id)
    mqids = {queue.alias: queue.mqid for queue in queues}
    directives = tuple(
        _directive(spec, number, workflow_id, mqids, locations, now, has_net=submission.has_net)
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
        if directive.work is None and (net is None or net.transitions[directive.number].is_first)
        for number, location in enumerate(directive.cluster_locations)
    )
    workflow = Workflow(
        workflow_id=workflow_id,
        owner=submission.owner,
        name=submission.name,
        labels=submission.labels,
        priority=submission.priority,
        state=WorkflowState.PENDING if queues else WorkflowState.ACTIVE,
        pending_reason="its queues are being asked for" if queues else "",
        create_time=now,
        active_time=None if queues else now,
        revision=1,
        n_tasks=len(directives),
        n_taskforces=len(taskforces),
        n_unended=len(taskforces),
        activation_due=now if queues else None,
        has_net=net is not None,
    )
    return Plan(workflow, directives, taskforces, queues, net)


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
    *,
    has_net: bool,
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
        n_workers=spec.work.n_procs if isinstance(spec.work, BatchWork) else spec.n_workers,
        worker_config=spec.worker_config,
        pilot_config=spec.pilot_config,
        depends_on=spec.depends_on,
        recovery=spec.recovery,
        work=spec.work,
        state=TaskState.WAITING if has_net else None,
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
    names = Counter(_names(submission))
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
        yield from _kind_violations(spec, path)
        yield from _location_violations(spec, path, locations)
        yield from _config_violations(spec, path)
    if submission.has_net:
        yield from net_violations(submission.tasks, _names(submission))
    if sum(len(spec.cluster_locations) for spec in submission.tasks) > _MAX_TASKFORCES:
        yield Violation("tasks", f"make more than {_MAX_TASKFORCES} taskforces")


def _kind_violations(spec: TaskSpec, path: str) -> Iterator[Violation]:
    try:
        kind = kind_of(spec.work)
    except LookupError as error:
        yield Violation(path, f"{error.args[0]} is a kind of task that is not run here yet")
        return
    yield from _work_violations(spec, path)
    needed: dict[str, object] = {}
    foreign: dict[str, object] = {"init_image": spec.init_image, "task_args": spec.task_args}
    if kind == "container":
        needed = {
            "cluster_locations": spec.cluster_locations,
            "input_queue_aliases": spec.input_aliases,
            "task_image": spec.task_image,
        }
        foreign = {}
        if spec.n_workers < 1:
            yield Violation(f"{path}.n_workers", "must be from 1 to 1000000")
    else:
        foreign |= {
            "input_queue_aliases": spec.input_aliases,
            "output_queue_aliases": spec.output_aliases,
        }
        place: dict[str, object] = {"cluster_locations": spec.cluster_locations}
        needed, foreign = (place, foreign) if kind == "batch" else ({}, foreign | place)
    for field, value in needed.items():
        if not value:
            words = "must not be empty" if value == "" else "must have at least 1 item, has 0"
            yield Violation(f"{path}.{field}", words)
    for field, value in foreign.items():
        if value:
            yield Violation(f"{path}.{field}", f"is nothing that a {kind} task has")


def _work_violations(spec: TaskSpec, path: str) -> Iterator[Violation]:
    match spec.work:
        case WaitWork(seconds=None, signal=""):
            yield Violation(f"{path}.wait", "must have a duration or a signal")
        case WaitWork(seconds=seconds) if seconds is not None and seconds < 0:
            yield Violation(f"{path}.wait.duration", "must not be below zero")
        case BatchWork(success=rule):
            if rule.at_least is not None and rule.at_least < 1:
                yield Violation(f"{path}.batch.success.at_least", "must be at least 1")
            if rule.share is not None and not 0 < rule.share <= 1:
                yield Violation(f"{path}.batch.success.share", "must be above 0 and at most 1")


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


def _names(submission: Submission) -> list[str]:
    return [_name(spec, number) for number, spec in enumerate(submission.tasks)]


def _name(spec: TaskSpec, number: int) -> str:
    return spec.name or f"task-{number}"


def _known(locations: ClusterLocations, name: str) -> ClusterLocation:
    location = locations.find(name)
    if location is None:
        raise LookupError(name)
    return location
