"""Values of the domain, with what a test does not care about filled in."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from wms_grpc.domain.ids import Mqid, TaskforceId, TaskId, WorkflowId
from wms_grpc.domain.model import (
    Phase,
    PilotConfig,
    Queue,
    TaskDirective,
    Taskforce,
    WorkerConfig,
)
from wms_grpc.domain.submission import ClusterLocation, ClusterLocations, Submission, TaskSpec

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)

WORKFLOW = WorkflowId("WF-1-00000000")

LOCATIONS = ClusterLocations(
    [ClusterLocation("local", "local"), ClusterLocation("osg", "osg", aliases=("sub-2",))]
)


def a_taskforce(**fields: Any) -> Taskforce:
    """A taskforce that was just created."""
    return replace(
        Taskforce(
            taskforce_uuid=TaskforceId("TF-1-00000000-0-0"),
            workflow_id=WORKFLOW,
            task_id=TaskId("TK-1-00000000-0"),
            create_time=NOW,
            priority=50,
            cluster_location="osg",
            schedd="sub",
            n_workers=10,
            worker_config=WorkerConfig(),
            pilot_config=PilotConfig(),
            phase=Phase.PRE_MQ_ACTIVATION,
        ),
        **fields,
    )


def a_task(name: str, reads: str, writes: str = "", **fields: Any) -> TaskDirective:
    """A task directive; its queues by aliases parted by blanks, which are their ids, too."""
    return replace(
        TaskDirective(
            task_id=TaskId(name),
            workflow_id=WORKFLOW,
            number=0,
            create_time=NOW,
            name=name,
            cluster_locations=("osg",),
            task_image="image",
            task_args="",
            task_env={},
            init_image="",
            init_args="",
            init_env={},
            input_aliases=tuple(reads.split()),
            output_aliases=tuple(writes.split()),
            input_queues=tuple(Mqid(alias) for alias in reads.split()),
            output_queues=tuple(Mqid(alias) for alias in writes.split()),
            n_workers=1,
            worker_config=WorkerConfig(),
            pilot_config=PilotConfig(),
        ),
        **fields,
    )


def a_queue(alias: str, **fields: Any) -> Queue:
    """A private queue that is granted."""
    queue = Queue(
        mqid=Mqid(alias),
        workflow_id=WORKFLOW,
        number=0,
        alias=alias,
        is_public=False,
        is_activated=True,
    )
    return replace(queue, **fields)


def a_spec(**fields: Any) -> TaskSpec:
    """A task that copies `input` to `output`."""
    spec = TaskSpec(
        name="",
        cluster_locations=("osg",),
        input_aliases=("input",),
        output_aliases=("output",),
        task_image="image",
        task_args="cp {{INFILE}} {{OUTFILE}}",
        task_env={},
        init_image="",
        init_args="",
        init_env={},
        n_workers=1,
        worker_config=WorkerConfig(),
        pilot_config=PilotConfig(),
    )
    return replace(spec, **fields)


def a_submission(*tasks: TaskSpec, public: str = "input output") -> Submission:
    """A submission of these tasks; without any, of the one that copies."""
    return Submission(
        owner="ada",
        name="",
        labels={},
        priority=50,
        public_aliases=tuple(public.split()),
        tasks=tasks or (a_spec(),),
    )
