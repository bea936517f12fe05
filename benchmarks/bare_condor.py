"""Submits to a schedd as fast as a bare loop over HTCondor's bindings can.

    python -m benchmarks.bare_condor SCHEDD FOLDER TASKFORCES     prints the seconds that it takes

The descriptions are those that a TMS makes of the same taskforces; they are made, and the files
that they name are written, before the clock starts. In the end all of it is removed again.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import htcondor2

from benchmarks.condor_taskforces import N_WORKERS, assignment
from ewms_tms.grid.condor_description import JobFiles, describe, submit_text
from ewms_tms.grid.condor_files import TaskforceFiles
from ewms_tms.submission import PilotSettings, compose_submission
from ewms_tms.submission_log import log_of_today

_PILOT = "/bin/true"
_INTERVAL = 0.2


def _texts(folder: Path, number: int) -> list[str]:
    """Descriptions as the TMS's helper gets them, with what it adds."""
    files, run, made = TaskforceFiles(folder), uuid4().hex[:8], []
    for n in range(number):
        submission = compose_submission(assignment(f"TF-bare-{run}-{n}"), PilotSettings("process"))
        job = JobFiles(
            folder=files.prepare(submission),
            log=log_of_today(files.logs),
            executable=_PILOT,
            arguments=(),
            input_files=(),
        )
        requirements = ("requirements", f"({submission.description['requirements']})")
        made.append(submit_text([*describe(submission, job), requirements]))
    return made


def main() -> None:
    """Measure once."""
    name, folder, number = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    texts = _texts(folder, number)
    place: Any = htcondor2.Collector().locate(htcondor2.DaemonType.Schedd, name)
    clusters: list[int] = []
    begin = time.perf_counter()
    for text in texts:
        submitted = htcondor2.Schedd(place).submit(htcondor2.Submit(text), count=N_WORKERS)
        clusters.append(submitted.cluster())
    seconds = time.perf_counter() - begin
    schedd = htcondor2.Schedd(place)
    # Others may be submitting meanwhile.
    ours = f"member(ClusterId, {{{', '.join(map(str, clusters))}}})"
    schedd.act(htcondor2.JobAction.Remove, ours)
    while schedd.query(ours, ["ClusterId"], opts=htcondor2.QueryOpt.IncludeClusterAd):
        time.sleep(_INTERVAL)
    sys.stdout.write(f"{seconds}\n")


if __name__ == "__main__":
    main()
