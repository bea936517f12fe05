"""What is submitted for a taskforce: its description for the middleware, its pilot's environment.

Pure. Guarantees that no secret stands in the description, and that no value can end a line of it.
What can never work is refused here, in words, before anything is written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ewms.wms.v1 import task_kinds_pb2, task_pb2, tms_service_pb2
from ewms_tms.grid import BatchJob, Refused, Submission, TaskforceUuid, WorkerLimits

__all__ = ["PilotSettings", "Runner", "compose_submission", "pilot_environment", "size_bytes"]

Runner = Literal["process", "apptainer"]

_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(?:([KMGT])i?B?|B)?")
_UNITS = {None: 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'')
_BRACKETS = {")": "(", "]": "[", "}": "{"}
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DEFAULT_TAG = "latest"
_DEFAULT_SIZE = "1G"
_DEFAULT_RUNTIME_SECONDS = 86_400
_TASK_VARIABLES = frozenset(
    f"EWMS_PILOT_{part}_{name}"
    for part in ("TASK", "INIT")
    for name in ("IMAGE", "ARGS", "ENV_JSON")
)
_SEPARATOR = ";"


@dataclass(frozen=True, slots=True)
class PilotSettings:
    """What every pilot is told: how it runs tasks, and the CA of the MQS (PEM), if it has one.

    `image` is the pilot's own container image, with `{tag}` for the tag that a taskforce asks for;
    without one the pilot is a plain process.
    """

    runner: Runner
    mqs_ca: str = ""
    image: str = ""


def compose_submission(start: tms_service_pb2.StartAssignment, pilot: PilotSettings) -> Submission:
    """The submission of an assignment.

    Raises
    ------
    Refused
        Something of it can never work.
    """
    taskforce = start.taskforce
    limits = worker_limits(taskforce.worker_config)
    is_batch = start.task_directive.WhichOneof("work") == "batch"
    if is_batch and start.task_directive.task_image:
        raise Refused("batch tasks in an image are not run here yet")
    input_files = tuple(taskforce.pilot_config.input_files)
    submission = Submission(
        taskforce=TaskforceUuid(taskforce.taskforce_uuid),
        attempt=start.attempt,
        n_workers=taskforce.n_workers,
        limits=limits,
        keep_output=taskforce.worker_config.do_transfer_worker_stdouterr,
        input_files=input_files,
        description=_description(start, limits, pilot.image),
        environment={} if is_batch else pilot_environment(start, pilot),
        job=_batch_job(start.task_directive.batch) if is_batch else None,
    )
    for name, value in submission.description.items():
        if _CONTROL.search(value):
            raise Refused(f"{name} has control characters")
    return submission


def _batch_job(batch: task_kinds_pb2.BatchSpec) -> BatchJob:
    words = (batch.executable, *batch.arguments, *batch.environment.values())
    if any("\0" in word for word in words):
        raise Refused("an argument or a variable of the batch task has the character NUL")
    return BatchJob((batch.executable, *batch.arguments), dict(batch.environment))


def worker_limits(config: task_pb2.WorkerConfig) -> WorkerLimits:
    """What a worker asks for, defaults filled in."""
    return WorkerLimits(
        n_cores=config.n_cores if config.HasField("n_cores") else 1,
        memory_bytes=size_bytes(config.worker_memory or _DEFAULT_SIZE),
        disk_bytes=size_bytes(config.worker_disk or _DEFAULT_SIZE),
        max_runtime_seconds=(
            config.max_worker_runtime
            if config.HasField("max_worker_runtime")
            else _DEFAULT_RUNTIME_SECONDS
        ),
        priority=config.priority,
    )


def size_bytes(text: str) -> int:
    """`512M`, `1.5 G` or a number of bytes, in bytes. Raises Refused for anything else."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise Refused(f"{text[:64]!r} is no size")
    return int(float(found[1]) * _UNITS[found[2]])


def pilot_environment(
    start: tms_service_pb2.StartAssignment, pilot: PilotSettings
) -> dict[str, str]:
    """Everything that the pilot is told, secrets among it: for its env file alone."""
    task, pilot_config = start.task_directive, start.taskforce.pilot_config
    reserved = sorted(_TASK_VARIABLES & pilot_config.environment.keys())
    if reserved:
        raise Refused(f"pilot_config.environment must not set {', '.join(reserved)}")
    queues = {queue.mqid: queue for queue in start.queues}
    return {
        "EWMS_PILOT_HTCHIRP": "true",
        "EWMS_PILOT_HTCHIRP_DEST": "JOB_EVENT_LOG",
        **({"EWMS_PILOT_MQS_CA": pilot.mqs_ca} if pilot.mqs_ca else {}),
        **pilot_config.environment,
        "EWMS_PILOT_RUNNER": pilot.runner,
        "EWMS_PILOT_TASKFORCE_UUID": start.taskforce.taskforce_uuid,
        "EWMS_PILOT_WORKFLOW_ID": start.taskforce.workflow_id,
        "EWMS_PILOT_QUEUE_CREDENTIAL": start.pilot_credential,
        "EWMS_PILOT_MQS_ADDRESS": start.mqs_address,
        **_container("TASK", task.task_image, task.task_args, task.task_env),
        **(
            _container("INIT", task.init_image, task.init_args, task.init_env)
            if task.init_image
            else {}
        ),
        **_queue_variables("INCOMING", _assigned(task.input_queues, queues)),
        **_queue_variables("OUTGOING", _assigned(task.output_queues, queues)),
    }


def _container(part: str, image: str, args: str, env: Mapping[str, str]) -> dict[str, str]:
    return {
        f"EWMS_PILOT_{part}_IMAGE": image,
        f"EWMS_PILOT_{part}_ARGS": args,
        f"EWMS_PILOT_{part}_ENV_JSON": json.dumps(dict(env)),
    }


def _assigned(
    mqids: Sequence[str], queues: Mapping[str, tms_service_pb2.AssignedQueue]
) -> list[tms_service_pb2.AssignedQueue]:
    missing = [mqid for mqid in mqids if mqid not in queues]
    if missing:
        raise Refused("the assignment lacks the profile of a queue of its task")
    return [queues[mqid] for mqid in mqids]


def _queue_variables(
    direction: str, queues: Sequence[tms_service_pb2.AssignedQueue]
) -> dict[str, str]:
    prefix = f"EWMS_PILOT_QUEUE_{direction}"
    return {
        prefix: _SEPARATOR.join(queue.mqid for queue in queues),
        f"{prefix}_AUTH_TOKEN": _SEPARATOR.join(queue.auth_token for queue in queues),
        f"{prefix}_BROKER_TYPE": _SEPARATOR.join(queue.broker_type for queue in queues),
        f"{prefix}_BROKER_ADDRESS": _SEPARATOR.join(queue.broker_address for queue in queues),
        f"{prefix}_BROKER_TLS": _SEPARATOR.join(
            "true" if queue.broker_tls else "false" for queue in queues
        ),
    }


def _description(
    start: tms_service_pb2.StartAssignment, limits: WorkerLimits, image: str
) -> dict[str, str]:
    """The submit description, in HTCondor's terms whatever the middleware."""
    taskforce = start.taskforce
    description = {
        **_universe(image, taskforce.pilot_config.tag),
        "request_cpus": str(limits.n_cores),
        "request_memory": f"{limits.memory_bytes / (1 << 20):.0f}",
        "request_disk": f"{limits.disk_bytes / (1 << 10):.0f}",
        "allowed_job_duration": str(limits.max_runtime_seconds),
        "accounting_group_user": start.owner,
        "+OriginalTime": str(limits.max_runtime_seconds),
        "+WantIOProxy": "true",
        "+EWMSTaskforceUUID": f'"{taskforce.taskforce_uuid}"',
        "job_ad_information_attrs": "EWMSTaskforceUUID",
    }
    priority = _priority(limits.priority, taskforce.n_workers)
    if priority:
        description["priority"] = priority
    requirements = taskforce.worker_config.condor_requirements
    if requirements:
        _check_expression(requirements)
        description["requirements"] = f"({requirements})"
    if taskforce.pilot_config.input_files:
        description["transfer_input_files"] = ", ".join(taskforce.pilot_config.input_files)
    return description


def _universe(image: str, tag: str) -> dict[str, str]:
    if not image:
        return {"universe": "vanilla"}
    if tag and not _TAG.fullmatch(tag):
        raise Refused(f"pilot_config.tag: {tag[:64]!r} is no tag of an image")
    return {
        "universe": "container",
        "container_image": image.replace("{tag}", tag or _DEFAULT_TAG),
    }


def _priority(priority: int, n_workers: int) -> str:
    """Falls over the procs to half of it, so that clusters of one priority share the pool."""
    if priority <= 1 or n_workers == 1:
        return str(priority) if priority else ""
    return f"{priority} - ({priority - priority // 2} * ProcId) / {n_workers - 1}"


def _check_expression(text: str) -> None:
    """A quick look at a ClassAd expression: strings end, brackets match. Raises Refused."""
    bare = _STRING.sub("", text)
    if '"' in bare:
        raise Refused("condor_requirements has a string without an end")
    open_brackets: list[str] = []
    for character in bare:
        if character in _BRACKETS.values():
            open_brackets.append(character)
        elif character in _BRACKETS and (
            not open_brackets or open_brackets.pop() != _BRACKETS[character]
        ):
            raise Refused(f"condor_requirements has a {character} too many")
    if open_brackets:
        raise Refused(f"condor_requirements has a {open_brackets[-1]} that is not closed")
