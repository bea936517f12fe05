"""What a task does, and its recovery, as JSON in its row and as messages of the contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration

from ewms.wms.v1 import task_kinds_pb2 as pb
from ewms.wms.v1 import task_pb2
from wms_grpc.domain.model import TaskState
from wms_grpc.domain.net_plan import kind_of
from wms_grpc.domain.tasks import BatchWork, NoopWork, Recovery, SuccessRule, WaitWork, Work

__all__ = [
    "KIND",
    "STATE",
    "recovery_from",
    "recovery_message",
    "set_work",
    "work_from",
    "work_json",
]

KIND = {name.removeprefix("TASK_KIND_").lower(): value for name, value in pb.TaskKind.items()}
STATE: Mapping[TaskState | None, pb.TaskState.ValueType] = {
    None: pb.TASK_STATE_UNSPECIFIED,
    **{state: pb.TaskState.Value(f"TASK_STATE_{state}") for state in TaskState},
}


def work_json(work: Work | None, recovery: Recovery | None) -> dict[str, Any]:
    """Return what of them stands in the row's `spec`; nothing for a plain container task."""
    stored: dict[str, Any] = {}
    if work is not None:
        stored["work"] = {"kind": kind_of(work), **asdict(work)}
    if recovery is not None:
        stored["recovery"] = asdict(recovery)
    return stored


def work_from(spec: Mapping[str, Any]) -> Work | None:
    """Return what the task of the row does; None for a container task."""
    stored = spec.get("work")
    if stored is None:
        return None
    fields = {name: value for name, value in stored.items() if name != "kind"}
    if stored["kind"] == "batch":
        success = SuccessRule(**fields.pop("success"))
        lists = {name: tuple(v) for name, v in fields.items() if isinstance(v, list)}
        return BatchWork(**{**fields, **lists}, success=success)
    if stored["kind"] == "wait":
        return WaitWork(**fields)
    return NoopWork()


def recovery_from(spec: Mapping[str, Any]) -> Recovery | None:
    """Return the recovery of the row's task, None where it has none."""
    stored = spec.get("recovery")
    if stored is None:
        return None
    lists = {name: tuple(v) for name, v in stored.items() if isinstance(v, list)}
    return Recovery(**{**stored, **lists})


def recovery_message(recovery: Recovery | None) -> pb.Recovery | None:
    """Return the recovery as the contract has it."""
    if recovery is None:
        return None
    message = pb.Recovery(
        max_tries=recovery.max_tries,
        backoff=_duration(recovery.backoff) if recovery.backoff else None,
        retry_on=recovery.retry_on,
        never_on=recovery.never_on,
    )
    if recovery.then == "fallback":
        message.fallback_task = recovery.task
    elif recovery.then == "compensate":
        message.compensate_with = recovery.task
    elif recovery.then == "skip":
        message.skip = True
    return message


def set_work(message: task_pb2.TaskDirective, work: Work | None) -> None:
    """Write what the task does into its message."""
    message.kind = KIND[kind_of(work)]
    match work:
        case BatchWork():
            message.batch.CopyFrom(_batch(work))
        case WaitWork(seconds=None):
            message.wait.signal = work.signal
        case WaitWork():
            message.wait.duration.CopyFrom(_duration(work.seconds or 0.0))
        case NoopWork():
            message.noop.SetInParent()


def _batch(work: BatchWork) -> pb.BatchSpec:
    rule = work.success
    return pb.BatchSpec(
        executable=work.executable,
        arguments=work.arguments,
        environment=work.environment,
        n_procs=work.n_procs,
        success=pb.SuccessRule(at_least=rule.at_least)
        if rule.at_least is not None
        else pb.SuccessRule(share=rule.share)
        if rule.share is not None
        else None,
    )


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromTimedelta(timedelta(seconds=seconds))
    return duration
