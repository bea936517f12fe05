"""From the contract's kinds of task and recoveries to the domain's."""

from __future__ import annotations

from typing import Literal

from google.protobuf.json_format import MessageToDict

from ewms.wms.v1 import task_kinds_pb2, task_pb2
from wms_grpc.domain.tasks import (
    BatchWork,
    CustomWork,
    NoopWork,
    Recovery,
    SubWorkflowWork,
    SuccessRule,
    Transfer,
    TransferWork,
    WaitWork,
    Work,
)

__all__ = ["recovery_from", "work_from"]


def work_from(task: task_pb2.TaskSpec) -> Work | None:
    """Return what the task does; None for a container task."""
    kind = task.WhichOneof("work")
    if kind == "batch":
        return _batch(task.batch)
    if kind == "wait":
        wait = task.wait
        is_timer = wait.WhichOneof("what") == "duration"
        return WaitWork(
            seconds=wait.duration.ToTimedelta().total_seconds() if is_timer else None,
            signal=wait.signal,
        )
    if kind == "noop":
        return NoopWork()
    if kind == "data_transfer":
        return TransferWork(
            tuple(Transfer(t.source, t.target) for t in task.data_transfer.transfers)
        )
    if kind == "sub_workflow":
        return SubWorkflowWork(task.sub_workflow.language, task.sub_workflow.file)
    if kind == "custom":
        return CustomWork(task.custom.kind, MessageToDict(task.custom.struct))
    return None


def recovery_from(recovery: task_kinds_pb2.Recovery) -> Recovery:
    """Return the recovery, defaults filled in."""
    return Recovery(
        max_tries=recovery.max_tries or 1,
        backoff=recovery.backoff.ToTimedelta().total_seconds(),
        retry_on=tuple(recovery.retry_on),
        never_on=tuple(recovery.never_on),
        then=_then(recovery),
        task=recovery.fallback_task or recovery.compensate_with,
    )


def _then(recovery: task_kinds_pb2.Recovery) -> Literal["fail", "skip", "fallback", "compensate"]:
    match recovery.WhichOneof("then"):
        case "fallback_task":
            return "fallback"
        case "compensate_with":
            return "compensate"
    return "skip" if recovery.skip else "fail"


def _batch(batch: task_kinds_pb2.BatchSpec) -> BatchWork:
    rule = batch.success.WhichOneof("rule")
    return BatchWork(
        executable=batch.executable,
        arguments=tuple(batch.arguments),
        environment=dict(batch.environment),
        n_procs=batch.n_procs or 1,
        success=SuccessRule(
            at_least=batch.success.at_least if rule == "at_least" else None,
            share=batch.success.share if rule == "share" else None,
        ),
    )
