"""A job event log of a hundred thousand events: read soon, in memory that does not grow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

N_EVENTS = 100_000
# What HTCondor writes for each event of a proc, with its ad's attributes after it.
EVENTS = """\
000 ({cluster:07d}.{proc:03d}.000) 2026-11-25 08:33:32 Job submitted from host: <127.0.0.1:9618?addrs=127.0.0.1-9618&alias=localhost&noUDP&sock=schedd_250075_3a66>
    ewms taskforce=TF-{cluster} attempt=1 n_workers=10
...
028 ({cluster:07d}.{proc:03d}.000) 2026-11-25 08:33:32 Job ad information event triggered.
Cluster = {cluster}
EWMSTaskforceUUID = "TF-{cluster}"
EventTime = "2026-11-25T08:33:32.844"
EventTypeNumber = 28
MyType = "SubmitEvent"
Proc = {proc}
Subproc = 0
TriggerEventTypeName = "ULOG_SUBMIT"
TriggerEventTypeNumber = 0
...
001 ({cluster:07d}.{proc:03d}.000) 2026-11-25 08:33:33 Job executing on host: <127.0.0.1:9618?addrs=127.0.0.1-9618&alias=localhost&noUDP&sock=startd_250075_3a66>
\tSlotName: slot1_1@localhost
\tCpus = 1
\tMemory = 128
...
008 ({cluster:07d}.{proc:03d}.000) 2026-11-25 08:33:34 HTChirpEWMSPilotStatus: "Tasking"
...
005 ({cluster:07d}.{proc:03d}.000) 2026-11-25 08:33:35 Job terminated.
\t(1) Normal termination (return value 0)
\t\tUsr 0 00:00:00, Sys 0 00:00:00  -  Run Remote Usage
\t\tUsr 0 00:00:00, Sys 0 00:00:00  -  Run Local Usage
\t4  -  Run Bytes Sent By Job
\tPartitionable Resources :    Usage  Request Allocated
\t   Cpus                 :        0        1         1
...
"""  # noqa: E501

# Reads it as a TMS does that begins, and says how long that took and how much memory it needed.
READER = """
import asyncio, resource, sys, time
from contextlib import aclosing
from pathlib import Path
from ewms_tms.clusters import ClusterBook
from ewms_tms.follower import LogObserver

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

async def read(folder):
    book, n = ClusterBook(()), 0
    async with aclosing(LogObserver(Path(folder)).follow()) as observations:
        async for observation in observations:
            n += len(observation.events)
            book.observe(observation)
            if observation.is_caught_up:
                return n

asyncio.run(read(sys.argv[1]))
before, begin = peak(), time.perf_counter()
n = asyncio.run(read(sys.argv[2]))
print(n, time.perf_counter() - begin, peak() - before)
"""


def write_log(folder: Path, n_events: int) -> Path:
    folder.mkdir()
    with (folder / "2026-11-25.tms.jel").open("w") as log:
        for number in range(n_events // 5):
            log.write(EVENTS.format(cluster=number // 10, proc=number % 10))
    return folder


def test_a_hundred_thousand_events_are_read_in_ten_seconds_and_in_flat_memory(
    tmp_path: Path,
) -> None:
    few, many = write_log(tmp_path / "few", N_EVENTS // 10), write_log(tmp_path / "many", N_EVENTS)
    done = subprocess.run(
        [sys.executable, "-c", READER, str(few), str(many)],
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    n_read, seconds, kilobytes = done.stdout.split()
    # The events of attributes say nothing more.
    assert int(n_read) == N_EVENTS // 5 * 4
    assert float(seconds) < 10
    # Ten times as many events, and no more than what a batch of them takes.
    assert int(kilobytes) < 32 << 10
