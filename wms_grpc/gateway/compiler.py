"""From the model to the request that a WMS takes: what runs here, and what does not yet.

What the engine does not run is an error finding, never left out: a request that is returned does
all that the workflow says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from ewms.wms.v1 import task_kinds_pb2, task_pb2
from ewms.wms.v1.workflow_service_pb2 import SubmitWorkflowRequest
from wms_grpc.domain.tasks import (
    BatchWork,
    ContainerWork,
    NoopWork,
    Recovery,
    Task,
    WaitWork,
)
from wms_grpc.gateway.ewms_names import contract_names
from wms_grpc.gateway.model import Finding, Position, Translation, Workflow

__all__ = ["compile_request"]

_CODE: Final = "NOT_RUN_YET"


def compile_request(
    translation: Translation, cluster_location: str
) -> tuple[SubmitWorkflowRequest | None, tuple[Finding, ...]]:
    """Return the request, None if something forbids it, and what there is to say of that.

    `cluster_location` is where jobs run that do not say it themselves.
    """
    workflow = translation.workflow
    findings = tuple(_not_run(workflow, translation.positions))
    is_forbidden = any(f.severity == "error" for f in (*translation.findings, *findings))
    if is_forbidden or not workflow.tasks:
        return None, findings
    names = contract_names(task.name for task in workflow.tasks)
    waits: dict[str, dict[str, None]] = {}
    for dependency in workflow.dependencies:
        for child in dependency.children:
            waits.setdefault(child, {}).update(dict.fromkeys(dependency.parents))
    request = SubmitWorkflowRequest(
        name=workflow.name[:256],
        public_queue_aliases=workflow.public_aliases,
        priority=workflow.priority,
        labels=workflow.labels,
    )
    for task in workflow.tasks:
        spec = request.tasks.add(name=names[task.name])
        spec.depends_on.extend(names[parent] for parent in waits.get(task.name, ()))
        _set_work(spec, task, cluster_location)
        if task.recovery != Recovery():
            _set_recovery(spec.recovery, task.recovery, names)
    return request, findings


def _not_run(workflow: Workflow, positions: Mapping[str, Position]) -> Iterator[Finding]:
    if workflow.given_net is not None:
        yield Finding(
            _CODE, "nets of places and arcs are analyzed, and not run yet", severity="error"
        )
    for what, limit in (
        ("at a time", workflow.max_running),
        ("waiting", workflow.max_idle),
        ("of a category", workflow.category_limits or None),
    ):
        if limit is not None:
            yield Finding("LIMIT_IGNORED", f"a limit of tasks {what} ({limit}) is not kept yet")
    for task in workflow.tasks:
        for words in _of_task(task):
            yield Finding(_CODE, words, positions.get(task.name, Position()), task.name, "error")


def _of_task(task: Task) -> Iterator[str]:
    for name, said in (("a script before it", task.pre), ("a script after it", task.post)):
        if said is not None:
            yield f"{name} is not run yet"
    if task.role != "node":
        yield f"a {task.role} task is not run yet"
    if task.abort is not None:
        yield "an exit code that ends the whole workflow is not looked at yet"
    if task.is_done:
        yield "a task that is done before is not left out yet"
    match task.work:
        case BatchWork():
            yield from _of_batch(task.work)
        case ContainerWork() | WaitWork() | NoopWork():
            return
        case other:
            yield f"{type(other).__name__.removesuffix('Work')} tasks are not run yet"


def _of_batch(work: BatchWork) -> Iterator[str]:
    if not work.executable.startswith("/"):
        yield f"files do not travel with jobs yet, and {work.executable!r} is no absolute path"
    for what, files in (
        ("input files", work.inputs),
        ("output files", work.outputs),
        ("standard input", work.stdin),
    ):
        if files:
            yield f"{what} of jobs do not travel yet"
    if work.image:
        yield "jobs in an image are not run yet"


def _set_work(spec: task_pb2.TaskSpec, task: Task, cluster_location: str) -> None:
    match task.work:
        case BatchWork():
            _set_batch(spec, task.work, cluster_location)
        case WaitWork(seconds=None):
            spec.wait.signal = task.work.signal
        case WaitWork():
            spec.wait.duration.FromMilliseconds(round((task.work.seconds or 0.0) * 1000))
        case NoopWork():
            spec.noop.SetInParent()
        case ContainerWork():
            _set_container(spec, task.work)


def _set_batch(spec: task_pb2.TaskSpec, work: BatchWork, cluster_location: str) -> None:
    spec.cluster_locations.extend(work.cluster_locations or (cluster_location,))
    spec.batch.executable = work.executable
    spec.batch.arguments.extend(work.arguments)
    spec.batch.environment.update(work.environment)
    spec.batch.n_procs = work.n_procs
    if work.success.at_least is not None:
        spec.batch.success.at_least = work.success.at_least
    elif work.success.share is not None:
        spec.batch.success.share = work.success.share
    config = spec.worker_config
    if work.n_cores is not None:
        config.n_cores = work.n_cores
    if work.max_runtime is not None:
        config.max_worker_runtime = work.max_runtime
    config.worker_memory, config.worker_disk = work.memory, work.disk
    config.condor_requirements = work.requirements


def _set_container(spec: task_pb2.TaskSpec, work: ContainerWork) -> None:
    spec.cluster_locations.extend(work.cluster_locations)
    spec.input_queue_aliases.extend(work.input_aliases)
    spec.output_queue_aliases.extend(work.output_aliases)
    spec.task_image, spec.task_args = work.task_image, work.task_args
    spec.task_env.update(work.task_env)
    spec.init_image, spec.init_args = work.init_image, work.init_args
    spec.init_env.update(work.init_env)
    spec.n_workers = work.n_workers
    worker, pilot = work.worker_config, work.pilot_config
    spec.worker_config.CopyFrom(
        task_pb2.WorkerConfig(
            do_transfer_worker_stdouterr=worker.do_transfer_worker_stdouterr,
            max_worker_runtime=worker.max_worker_runtime,
            n_cores=worker.n_cores,
            priority=worker.priority,
            worker_disk=worker.worker_disk,
            worker_memory=worker.worker_memory,
            condor_requirements=worker.condor_requirements,
        )
    )
    spec.pilot_config.CopyFrom(
        task_pb2.PilotConfig(
            tag=pilot.tag,
            image_source=pilot.image_source,
            environment=pilot.environment,
            input_files=pilot.input_files,
        )
    )


def _set_recovery(
    message: task_kinds_pb2.Recovery, recovery: Recovery, names: Mapping[str, str]
) -> None:
    message.max_tries = recovery.max_tries
    if recovery.backoff:
        message.backoff.FromMilliseconds(round(recovery.backoff * 1000))
    message.retry_on.extend(recovery.retry_on)
    message.never_on.extend(recovery.never_on)
    if recovery.then == "fallback":
        message.fallback_task = names[recovery.task]
    elif recovery.then == "compensate":
        message.compensate_with = names[recovery.task]
    elif recovery.then == "skip":
        message.skip = True
