"""Between SubmitWorkflow's messages and the domain's submission, defaults filled in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ewms.wms.v1 import task_pb2, workflow_service_pb2
from ewms_rpc.errors import FieldViolation
from wms_grpc.api.task_kinds import recovery_from, work_from
from wms_grpc.domain.ids import WorkflowId
from wms_grpc.domain.model import PilotConfig, WorkerConfig
from wms_grpc.domain.submission import ClusterLocations, Submission, TaskSpec
from wms_grpc.domain.translation import DEFAULT_PRIORITY, violations_of
from wms_grpc.storage.requests import RequestKey, find_repeat
from wms_grpc.storage.store import Store
from wms_grpc.storage.submissions import Submitted, submitted_of

__all__ = ["further_violations", "submission_from", "submit_response", "submitted_before"]

_MOST_LISTED_TASKS: Final = 1_000
# As many as the field rules allow: a request of a million tasks is refused without a look at each.
_MOST_CHECKED_TASKS: Final = 10_000

_DEFAULTS = WorkerConfig()
_PILOT_DEFAULTS = PilotConfig()


def submission_from(request: workflow_service_pb2.SubmitWorkflowRequest, owner: str) -> Submission:
    """Return the workflow that is asked for."""
    return Submission(
        owner=owner,
        name=request.name,
        labels=dict(request.labels),
        priority=request.priority if request.HasField("priority") else DEFAULT_PRIORITY,
        public_aliases=tuple(request.public_queue_aliases),
        tasks=tuple(_task(task) for task in request.tasks),
    )


def further_violations(
    request: workflow_service_pb2.SubmitWorkflowRequest, locations: ClusterLocations
) -> Iterator[FieldViolation]:
    """Yield what is wrong beyond the field rules with a request that breaks some of them."""
    if len(request.tasks) <= _MOST_CHECKED_TASKS:
        submission = submission_from(request, owner="")
        for violation in violations_of(submission, locations):
            yield FieldViolation(violation.path, violation.description)


def submit_response(submitted: Submitted) -> workflow_service_pb2.SubmitWorkflowResponse:
    """Return the answer; without the lists where they are long."""
    is_listed = len(submitted.directives) <= _MOST_LISTED_TASKS
    return workflow_service_pb2.SubmitWorkflowResponse(
        workflow=submitted.workflow,
        task_directives=submitted.directives if is_listed else (),
        taskforces=submitted.taskforces if is_listed else (),
    )


async def submitted_before(
    store: Store, key: RequestKey
) -> workflow_service_pb2.SubmitWorkflowResponse:
    """Return what a repeated submission made, as it is now. Raises AlreadyExists."""
    workflow_id = await find_repeat(store.db, key)
    return submit_response(await submitted_of(store.db, WorkflowId(workflow_id or "")))


def _task(task: task_pb2.TaskSpec) -> TaskSpec:
    return TaskSpec(
        name=task.name,
        cluster_locations=tuple(task.cluster_locations),
        input_aliases=tuple(task.input_queue_aliases),
        output_aliases=tuple(task.output_queue_aliases),
        task_image=task.task_image,
        task_args=task.task_args,
        task_env=dict(task.task_env),
        init_image=task.init_image,
        init_args=task.init_args,
        init_env=dict(task.init_env),
        n_workers=task.n_workers,
        worker_config=_worker_config(task.worker_config),
        pilot_config=_pilot_config(task.pilot_config),
        depends_on=tuple(task.depends_on),
        recovery=recovery_from(task.recovery) if task.HasField("recovery") else None,
        work=work_from(task),
    )


def _worker_config(config: task_pb2.WorkerConfig) -> WorkerConfig:
    return WorkerConfig(
        do_transfer_worker_stdouterr=config.do_transfer_worker_stdouterr,
        max_worker_runtime=config.max_worker_runtime
        if config.HasField("max_worker_runtime")
        else _DEFAULTS.max_worker_runtime,
        n_cores=config.n_cores if config.HasField("n_cores") else _DEFAULTS.n_cores,
        priority=config.priority if config.HasField("priority") else _DEFAULTS.priority,
        worker_disk=config.worker_disk or _DEFAULTS.worker_disk,
        worker_memory=config.worker_memory or _DEFAULTS.worker_memory,
        condor_requirements=config.condor_requirements,
    )


def _pilot_config(config: task_pb2.PilotConfig) -> PilotConfig:
    return PilotConfig(
        tag=config.tag or _PILOT_DEFAULTS.tag,
        image_source=config.image_source or _PILOT_DEFAULTS.image_source,
        environment=dict(config.environment),
        input_files=tuple(config.input_files),
    )
