"""Tries a pool from outside: one job to each schedd, until its event log says how it ended.

Run by `condor-pool.sh check` with the environment that `condor-pool.sh env` prints and an
interpreter that has the official bindings (PyPI's `htcondor`). With `--image` the jobs run in
that container; otherwise a plain process sleeps for a second.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import htcondor2

_ENDED = htcondor2.JobEventType.JOB_TERMINATED
_TELLING = (
    htcondor2.JobEventType.JOB_HELD,
    htcondor2.JobEventType.JOB_ABORTED,
    htcondor2.JobEventType.SHADOW_EXCEPTION,
)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _description(folder: Path, image: str | None) -> dict[str, str]:
    described = {
        "executable": "/bin/sleep",
        "arguments": "1",
        "transfer_executable": "false",
        "request_cpus": "1",
        "request_memory": "64M",
        "request_disk": "10M",
        "initialdir": str(folder),
        "log": str(folder / "job.log"),
        "output": str(folder / "job.out"),
        "error": str(folder / "job.err"),
        "should_transfer_files": "yes",
    }
    if image:
        described |= {"universe": "container", "container_image": image}
    return described


def _schedd(name: str) -> htcondor2.Schedd:
    found: Any = htcondor2.Collector().locate(htcondor2.DaemonType.Schedd, name)
    return htcondor2.Schedd(found)


def _try_schedd(name: str, folder: Path, image: str | None, patience: int) -> bool:
    result: Any = _schedd(name).submit(htcondor2.Submit(_description(folder, image)))
    log = htcondor2.JobEventLog(str(folder / "job.log"))
    for event in log.events(stop_after=patience):
        if event.type in _TELLING:
            _say(f"{name}: {event}")
        if event.type == htcondor2.JobEventType.JOB_HELD:
            return False
        if event.type == _ENDED:
            code = event.get("ReturnValue")
            _say(f"{name}: cluster {result.cluster()} ended with {code}")
            return bool(code == 0)
    _say(f"{name}: cluster {result.cluster()} has not ended in {patience} s")
    return False


def main() -> int:
    """Try every schedd that the environment names; 0 if all jobs ended well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", help="a container image: a folder or a SIF file")
    parser.add_argument("--patience", type=int, default=60, help="seconds for each job")
    options = parser.parse_args()
    all_well = True
    for variable in ("EWMS_POOL_SCHEDD", "EWMS_POOL_SCHEDD2"):
        folder = Path(tempfile.mkdtemp(prefix="try-", dir=os.environ["EWMS_POOL_WORK"]))
        folder.chmod(0o1777)  # the schedd writes there as the account that owns the job
        is_well = _try_schedd(os.environ[variable], folder, options.image, options.patience)
        if is_well:
            shutil.rmtree(folder, ignore_errors=True)
        all_well &= is_well
    return 0 if all_well else 1


if __name__ == "__main__":
    sys.exit(main())
