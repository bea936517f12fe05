"""TMS processes on a real pool, and what its log says that they did."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import aclosing
from pathlib import Path

from condor_pool import RealPool

from ewms_tms.follower import LogObserver
from ewms_tms.grid.condor_calls import CondorCalls
from ewms_tms.grid.condor_messages import Act
from ewms_tms.job_events import ClusterId, EventKind, JobEvent
from ewms_tms.log_file import LogFile, log_paths
from ewms_tms.submission_notes import SubmissionNotes

# A pool starts a worker some seconds after its submission.
PATIENCE = 90.0
CHIRP = "/usr/libexec/condor/condor_chirp"


async def nothing_is_left_in_the_queue(pool: RealPool) -> None:
    living = {each for each in clusters(pool) if EventKind.CLUSTER_REMOVE not in kinds(pool, each)}
    if not living:
        return
    calls = CondorCalls(pool.environment)
    for cluster in living:
        await calls.do(Act(pool.schedd, cluster, "remove", "the test is over"))
    await calls.close()
    async with asyncio.timeout(PATIENCE), aclosing(LogObserver(logs(pool)).follow()) as told:
        async for observation in told:
            ended = {
                each.cluster for each in observation.events if each.kind is EventKind.CLUSTER_REMOVE
            }
            living -= ended
            if not living:
                return


def logs(pool: RealPool) -> Path:
    return pool.place / "data" / "schedds" / "local" / "logs"


def logged(pool: RealPool) -> list[JobEvent]:
    paths = log_paths(logs(pool)) if logs(pool).exists() else []
    return [event for path in paths for event in LogFile(path).read()]


def clusters(pool: RealPool) -> set[ClusterId]:
    """The clusters that the log has."""
    return {event.cluster for event in logged(pool) if event.kind is EventKind.CLUSTER_SUBMIT}


def kinds(pool: RealPool, cluster: ClusterId) -> list[EventKind]:
    return [event.kind for event in logged(pool) if event.cluster == cluster]


def submitted(pool: RealPool) -> Counter[str]:
    """How many clusters each taskforce has had."""
    notes = [
        SubmissionNotes.parse(event.text)
        for event in logged(pool)
        if event.kind is EventKind.CLUSTER_SUBMIT
    ]
    return Counter(str(note.taskforce) for note in notes if note is not None)


def runs(pool: RealPool) -> int:
    path = pool.place / "runs"
    return len(path.read_text().split()) if path.exists() else 0
