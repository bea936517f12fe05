"""The taskforces that are submitted to HTCondor: their workers never start, nowhere."""

from __future__ import annotations

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
    return task_pb2.WorkerConfig(
        do_transfer_worker_stdouterr=True,
        max_worker_runtime=600,
        n_cores=1,
        priority=99,
        worker_disk="512M",
        worker_memory="512M",
        # So that nothing but submission is measured.
        condor_requirements="false",
    )
