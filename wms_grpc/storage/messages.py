"""From the domain's values to the contract's messages.

The change feed stores messages, encoded once for all who watch, so this stands with the storage
and not with the API, which uses it for its answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from ewms.wms.v1 import task_pb2, taskforce_pb2, workflow_pb2
from wms_grpc.domain.model import (
    CompoundStatuses,
    Outcome,
    PhaseChange,
    PilotConfig,
    Queue,
    TaskDirective,
    Taskforce,
    WorkerConfig,
    Workflow,
)
from wms_grpc.storage.task_work import STATE as TASK_STATE
from wms_grpc.storage.task_work import recovery_message, set_work

__all__ = [
    "pilot_status_counts",
    "queue_message",
    "task_directive_message",
    "taskforce_message",
    "timestamp",
    "worker_config_message",
    "workflow_message",
]

_EPOCH = datetime.fromtimestamp(0, UTC)

PHASE = {
    name.removeprefix("TASKFORCE_PHASE_"): value
    for name, value in taskforce_pb2.TaskforcePhase.items()
}
STATE = {
    name.removeprefix("WORKFLOW_STATE_"): value
    for name, value in workflow_pb2.WorkflowState.items()
}


def timestamp(moment: datetime | None) -> Timestamp | None:
    """Return the moment as protobuf has it, None for None."""
    if moment is None:
        return None
    # Timestamp.FromDatetime takes five times as long, and a revision can hold ten thousands.
    since = moment - _EPOCH
    return Timestamp(seconds=since.days * 86_400 + since.seconds, nanos=since.microseconds * 1_000)


def workflow_message(workflow: Workflow) -> workflow_pb2.Workflow:
    """Return the workflow without its summary."""
    return workflow_pb2.Workflow(
        workflow_id=workflow.workflow_id,
        owner=workflow.owner,
        name=workflow.name,
        labels=workflow.labels,
        priority=workflow.priority,
        state=STATE[workflow.state],
        state_reason=workflow.state_reason,
        pending_reason=workflow.pending_reason,
        retry_time=timestamp(workflow.retry_time),
        create_time=timestamp(workflow.create_time),
        active_time=timestamp(workflow.active_time),
        end_time=timestamp(workflow.end_time),
        settled_time=timestamp(workflow.settled_time),
        revision=workflow.revision,
        attention=workflow.attention,
        n_tasks=workflow.n_tasks,
        n_taskforces=workflow.n_taskforces,
        hold_running=workflow.hold_running,
        has_net=workflow.has_net,
    )


def task_directive_message(directive: TaskDirective) -> task_pb2.TaskDirective:
    """Return the task directive."""
    message = task_pb2.TaskDirective(
        task_id=directive.task_id,
        workflow_id=directive.workflow_id,
        create_time=timestamp(directive.create_time),
        name=directive.name,
        cluster_locations=directive.cluster_locations,
        task_image=directive.task_image,
        task_args=directive.task_args,
        task_env=directive.task_env,
        init_image=directive.init_image,
        init_args=directive.init_args,
        init_env=directive.init_env,
        input_queues=directive.input_queues,
        output_queues=directive.output_queues,
        input_queue_aliases=directive.input_aliases,
        output_queue_aliases=directive.output_aliases,
        n_workers=directive.n_workers,
        worker_config=worker_config_message(directive.worker_config),
        pilot_config=_pilot_config(directive.pilot_config),
        is_done=directive.is_done,
        done_time=timestamp(directive.done_time),
        depends_on=directive.depends_on,
        recovery=recovery_message(directive.recovery),
        state=TASK_STATE[directive.state],
        state_reason=directive.state_reason,
        n_tries=directive.n_tries,
    )
    set_work(message, directive.work)
    return message


def taskforce_message(taskforce: Taskforce) -> taskforce_pb2.Taskforce:
    """Return the taskforce."""
    return taskforce_pb2.Taskforce(
        taskforce_uuid=taskforce.taskforce_uuid,
        task_id=taskforce.task_id,
        workflow_id=taskforce.workflow_id,
        create_time=timestamp(taskforce.create_time),
        priority=taskforce.priority,
        cluster_location=taskforce.cluster_location,
        schedd=taskforce.schedd,
        n_workers=taskforce.n_workers,
        worker_config=worker_config_message(taskforce.worker_config),
        pilot_config=_pilot_config(taskforce.pilot_config),
        cluster_id=taskforce.cluster_id,
        submit_dict=taskforce.submit_dict,
        job_event_log_fpath=taskforce.job_event_log_fpath,
        phase=PHASE[taskforce.phase],
        phase_change_log=[_phase_change(change) for change in taskforce.phase_log],
        compound_statuses=pilot_status_counts(taskforce.compound_statuses),
        top_task_errors=taskforce.top_task_errors,
        waiting_reason=taskforce.waiting_reason,
        n_refusals=taskforce.n_refusals,
        outcomes=[_outcome(outcome) for outcome in taskforce.outcomes],
        condor_complete_time=timestamp(taskforce.condor_complete_time),
    )


def queue_message(queue: Queue) -> workflow_pb2.Queue:
    """Return the queue, without its token."""
    return workflow_pb2.Queue(
        mqid=queue.mqid,
        workflow_id=queue.workflow_id,
        alias=queue.alias,
        is_public=queue.is_public,
        is_activated=queue.is_activated,
        is_close_requested=queue.is_close_requested,
        is_closed=queue.is_closed,
        is_drained=queue.is_drained,
        broker_type=queue.broker_type,
        broker_address=queue.broker_address,
        broker_tls=queue.broker_tls,
        n_dead=queue.n_dead,
    )


def pilot_status_counts(
    statuses: CompoundStatuses,
) -> Mapping[str, taskforce_pb2.PilotStatusCounts]:
    """Return the map of compound statuses."""
    return {
        status: taskforce_pb2.PilotStatusCounts(counts=pilots)
        for status, pilots in statuses.items()
    }


def worker_config_message(config: WorkerConfig) -> task_pb2.WorkerConfig:
    """Return the worker's configuration, every field set."""
    return task_pb2.WorkerConfig(
        do_transfer_worker_stdouterr=config.do_transfer_worker_stdouterr,
        max_worker_runtime=config.max_worker_runtime,
        n_cores=config.n_cores,
        priority=config.priority,
        worker_disk=config.worker_disk,
        worker_memory=config.worker_memory,
        condor_requirements=config.condor_requirements,
    )


def _pilot_config(config: PilotConfig) -> task_pb2.PilotConfig:
    return task_pb2.PilotConfig(
        tag=config.tag,
        image_source=config.image_source,
        environment=config.environment,
        input_files=config.input_files,
    )


def _phase_change(change: PhaseChange) -> taskforce_pb2.PhaseChange:
    return taskforce_pb2.PhaseChange(
        target_phase=PHASE[change.target],
        time=timestamp(change.time),
        was_successful=change.was_successful,
        source_event_time=timestamp(change.cause.source_event_time),
        source_entity=change.cause.source,
        context=change.cause.context,
    )


def _outcome(outcome: Outcome) -> taskforce_pb2.WorkerOutcome:
    message = taskforce_pb2.WorkerOutcome(count=outcome.count)
    match outcome.kind:
        case "exit_code":
            message.exit_code = outcome.value
        case "signal":
            message.signal = outcome.value
        case "hold_code":
            message.hold_code = outcome.value
        case "removed":
            message.removed = True
    return message
