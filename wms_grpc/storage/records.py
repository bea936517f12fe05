"""Between rows and the domain's values: columns as jsonb are spelled out here and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import asyncpg
import orjson

from wms_grpc.domain.model import (
    Cause,
    Outcome,
    Phase,
    PhaseChange,
    PilotConfig,
    Queue,
    TaskDirective,
    Taskforce,
    TaskState,
    WorkerConfig,
    Workflow,
    WorkflowState,
)
from wms_grpc.storage.task_work import recovery_from, work_from, work_json

__all__ = [
    "directive_from",
    "directive_spec",
    "json_list",
    "outcomes_json",
    "phase_log_json",
    "queue_from",
    "taskforce_from",
    "taskforce_spec",
    "workflow_from",
]

# Looked up here, since a call of the enumeration takes ten times as long.
_PHASES = {str(phase): phase for phase in Phase}
_WORKER_CONFIG = tuple(WorkerConfig.__dataclass_fields__)
_WORKFLOW_COLUMNS = tuple(Workflow.__dataclass_fields__)
_QUEUE_COLUMNS = tuple(Queue.__dataclass_fields__)
_TASKFORCE_PLAIN = tuple(
    name
    for name in Taskforce.__dataclass_fields__
    if name not in {"worker_config", "pilot_config", "phase", "phase_log", "outcomes"}
)


def workflow_from(row: asyncpg.Record) -> Workflow:
    """Return the workflow of a row with all columns."""
    values = {name: row[name] for name in _WORKFLOW_COLUMNS}
    values["state"] = WorkflowState(values["state"])
    values["attention"] = tuple(values["attention"])
    return Workflow(**values)


def queue_from(row: asyncpg.Record) -> Queue:
    """Return the queue of a row with all columns."""
    return Queue(**{name: row[name] for name in _QUEUE_COLUMNS})


def directive_from(row: asyncpg.Record) -> TaskDirective:
    """Return the task directive of a row with all columns."""
    spec = row["spec"]
    return TaskDirective(
        task_id=row["task_id"],
        workflow_id=row["workflow_id"],
        number=row["number"],
        create_time=row["create_time"],
        name=row["name"],
        cluster_locations=tuple(spec["cluster_locations"]),
        task_image=row["task_image"],
        task_args=spec["task_args"],
        task_env=spec["task_env"],
        init_image=spec["init_image"],
        init_args=spec["init_args"],
        init_env=spec["init_env"],
        input_aliases=tuple(spec["input_aliases"]),
        output_aliases=tuple(spec["output_aliases"]),
        input_queues=tuple(spec["input_queues"]),
        output_queues=tuple(spec["output_queues"]),
        n_workers=row["n_workers"],
        worker_config=WorkerConfig(**spec["worker_config"]),
        pilot_config=_pilot_config(spec["pilot_config"]),
        is_done=row["is_done"],
        done_time=row["done_time"],
        stop_due=row["stop_due"],
        depends_on=tuple(spec.get("depends_on", ())),
        recovery=recovery_from(spec),
        work=work_from(spec),
        state=TaskState(row["state"]) if row["state"] else None,
        state_reason=row["state_reason"],
        n_tries=row["n_tries"],
    )


def directive_spec(directive: TaskDirective) -> dict[str, Any]:
    """Return what of the directive stands in its `spec` column."""
    return {
        "cluster_locations": directive.cluster_locations,
        "task_args": directive.task_args,
        "task_env": directive.task_env,
        "init_image": directive.init_image,
        "init_args": directive.init_args,
        "init_env": directive.init_env,
        "input_aliases": directive.input_aliases,
        "output_aliases": directive.output_aliases,
        "input_queues": directive.input_queues,
        "output_queues": directive.output_queues,
        **_configs(directive.worker_config, directive.pilot_config),
        **({"depends_on": directive.depends_on} if directive.depends_on else {}),
        **work_json(directive.work, directive.recovery),
    }


def taskforce_from(row: asyncpg.Record) -> Taskforce:
    """Return the taskforce of a row with all columns."""
    spec = row["spec"]
    return Taskforce(
        **{name: row[name] for name in _TASKFORCE_PLAIN},
        worker_config=WorkerConfig(**spec["worker_config"]),
        pilot_config=_pilot_config(spec["pilot_config"]),
        phase=_PHASES[row["phase"]],
        phase_log=tuple(_phase_change(entry) for entry in row["phase_log"]),
        outcomes=tuple(Outcome(*entry) for entry in row["outcomes"]),
    )


def taskforce_spec(taskforce: Taskforce) -> dict[str, Any]:
    """Return what of the taskforce stands in its `spec` column."""
    return _configs(taskforce.worker_config, taskforce.pilot_config)


def json_list(values: Sequence[object]) -> orjson.Fragment:
    """Return the list as one JSON value.

    Encoded here, because within an array parameter the driver takes a list for a dimension.
    """
    return orjson.Fragment(orjson.dumps(values))


def phase_log_json(log: tuple[PhaseChange, ...]) -> orjson.Fragment:
    """Return the log as it is stored: times in ISO 8601, fields by one letter or two."""
    entries = [
        {
            "to": change.target,
            "at": change.time.isoformat(),
            "ok": change.was_successful,
            "by": change.cause.source,
            "why": change.cause.context,
            **(
                {"source_time": change.cause.source_event_time.isoformat()}
                if change.cause.source_event_time
                else {}
            ),
        }
        for change in log
    ]
    return json_list(entries)


def outcomes_json(outcomes: tuple[Outcome, ...]) -> orjson.Fragment:
    """Return the outcomes as they are stored: kind, value, count."""
    return json_list([(outcome.kind, outcome.value, outcome.count) for outcome in outcomes])


def _phase_change(entry: dict[str, Any]) -> PhaseChange:
    source_time = entry.get("source_time")
    return PhaseChange(
        target=_PHASES[entry["to"]],
        time=datetime.fromisoformat(entry["at"]),
        was_successful=entry["ok"],
        cause=Cause(
            entry["by"], entry["why"], datetime.fromisoformat(source_time) if source_time else None
        ),
    )


def _configs(worker: WorkerConfig, pilot: PilotConfig) -> dict[str, Any]:
    return {
        # Spelled out: dataclasses.asdict copies deeply, which costs ten times as much.
        "worker_config": {name: getattr(worker, name) for name in _WORKER_CONFIG},
        "pilot_config": {
            "tag": pilot.tag,
            "image_source": pilot.image_source,
            "environment": pilot.environment,
            "input_files": pilot.input_files,
        },
    }


def _pilot_config(stored: dict[str, Any]) -> PilotConfig:
    return PilotConfig(
        tag=stored["tag"],
        image_source=stored["image_source"],
        environment=stored["environment"],
        input_files=tuple(stored["input_files"]),
    )
