"""Workflows to measure with: the example of the issue, and submissions without a server."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

from ewms.wms.v1 import task_pb2
from ewms.wms.v1 import workflow_service_pb2 as pb
from wms_grpc.api.submissions import submission_from, submit_response
from wms_grpc.config import WmsSettings
from wms_grpc.domain.translation import Plan, translate
from wms_grpc.storage.requests import RequestKey
from wms_grpc.storage.store import Store
from wms_grpc.storage.submissions import insert_plan, messages_of

__all__ = ["OWNER", "example_request", "insert_in_process", "plan_of", "submit_in_process"]

OWNER = "local"
_IMAGE = "/cvmfs/icecube.opensciencegrid.org/containers/path/to/my-apptainer-container:1.2.3"


def example_request(n_tasks: int = 1, n_workers: int = 1000) -> pb.SubmitWorkflowRequest:
    """A submission: the issue's example, its task as often as asked for."""
    task = task_pb2.TaskSpec(
        cluster_locations=["sub-2"],
        input_queue_aliases=["input-queue"],
        output_queue_aliases=["output-queue"],
        task_image=_IMAGE,
        task_args="cp {{INFILE}} {{OUTFILE}}",
        n_workers=n_workers,
        worker_config=task_pb2.WorkerConfig(
            do_transfer_worker_stdouterr=True,
            max_worker_runtime=600,
            n_cores=1,
            priority=99,
            worker_disk="512M",
            worker_memory="512M",
        ),
    )
    return pb.SubmitWorkflowRequest(
        public_queue_aliases=["input-queue", "output-queue"], tasks=[task] * n_tasks
    )


def plan_of(request: pb.SubmitWorkflowRequest) -> Plan:
    """What the WMS makes of the submission."""
    return translate(
        submission_from(request, OWNER), WmsSettings.model_validate({}).locations, datetime.now(UTC)
    )


async def insert_in_process(store: Store, plan: Plan, *, is_claimed: bool) -> None:
    """Write a plan as SubmitWorkflow does for a request with an id."""
    key = RequestKey(OWNER, "SubmitWorkflow", uuid4().hex, bytes(32))
    await insert_plan(store, plan, messages_of(plan), key, is_claimed=is_claimed)


async def submit_in_process(
    store: Store, request: pb.SubmitWorkflowRequest
) -> pb.SubmitWorkflowResponse:
    """Do what SubmitWorkflow does, without a server."""
    plan = plan_of(request)
    await insert_in_process(store, plan, is_claimed=False)
    return submit_response(messages_of(plan))
