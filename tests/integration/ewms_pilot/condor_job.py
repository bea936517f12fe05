"""Submits a job to a real pool and follows it to its end; run by tests as a program of its own.

The bindings change the environment of the process that imports them, and hold its global lock.

    condor_job.py SCHEDD < DESCRIPTION      prints how it ended; 0 if it did with exit code 0
"""

from __future__ import annotations

import sys
from typing import Any

import htcondor2

_PATIENCE = 90


def main() -> int:
    """Submit what stands in stdin and wait for the end."""
    description = htcondor2.Submit(sys.stdin.read())
    place: Any = htcondor2.Collector().locate(htcondor2.DaemonType.Schedd, sys.argv[1])
    schedd = htcondor2.Schedd(place)
    submitted: Any = schedd.submit(description)
    for event in htcondor2.JobEventLog(description["log"]).events(stop_after=_PATIENCE):
        match event.type:
            case htcondor2.JobEventType.JOB_TERMINATED:
                code = event.get("ReturnValue")
                sys.stdout.write(f"ended with {code}\n")
                return 0 if code == 0 else 1
            case htcondor2.JobEventType.JOB_HELD:
                sys.stdout.write(f"held: {event.get('HoldReason')}\n")
                break
    schedd.act(htcondor2.JobAction.Remove, f"ClusterId == {submitted.cluster()}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
