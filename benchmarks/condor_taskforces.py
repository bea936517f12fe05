"""The taskforces that are submitted to HTCondor: their workers never start, nowhere."""

from __future__ import annotations

from benchmarks.workflows import example_request
from ewms.wms.v1 import task_pb2, tms_service_pb2

__all__ = ["N_WORKERS", "assignment"]

N_WORKERS = 1


def assignment(uuid: str) -> tms_service_pb2.StartAssignment:
    """The assignment of such a taskforce, as a TMS gets it."""
    start = tms_service_pb2.StartAssignment(attempt=1, owner="local", pilot_credential="C" * 200)
    start.taskforce.taskforce_uuid = uuid
    start.taskforce.n_workers = N_WORKERS
    start.taskforce.worker_config.CopyFrom(_worker_config())
    start.task_directive.task_image = "/cvmfs/images/task:1.2.3"
    start.task_directive.task_args = "cp {{INFILE}} {{OUTFILE}}"
    return start


def _worker_config() -> task_pb2.WorkerConfig:
    config = task_pb2.WorkerConfig()
    config.CopyFrom(example_request(n_workers=1).tasks[0].worker_config)
    # So that nothing but submission is measured.
    config.condor_requirements = "false"
    return config
