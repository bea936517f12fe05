"""Every event of HTCondor that changes what we know, in its own words: what becomes of a proc."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ewms_tms.event_log import EventParser
from ewms_tms.grid import Cluster, TaskforceUuid
from ewms_tms.job_events import ClusterId, EventKind
from ewms_tms.statuses import ClusterStatus

HEAD = "(230.000.000) 2026-11-25 08:33:32"
USAGE = "".join(
    f"\t\tUsr 0 00:00:01, Sys 0 00:00:00  -  {of} Usage\n" for of in ("Run Remote", "Run Local")
)
EXECUTE = f"001 {HEAD} Job executing on host: <127.0.0.1:9618?sock=startd>\n\tCpus = 1\n...\n"
HELD = f"012 {HEAD} Job was held.\n\tno such file\n\tCode 13 Subcode 2\n...\n"
SUSPENDED = f"010 {HEAD} Job was suspended.\n\tNumber of processes actually suspended: 1\n...\n"

# What happened, and the proc's status by it.
TABLE = [
    (f"000 {HEAD} Job submitted from host: <127.0.0.1:9618?sock=schedd>\n...\n", "IDLE"),
    (EXECUTE, "RUNNING"),
    (
        f"{EXECUTE}004 {HEAD} Job was evicted.\n\t(0) CPU times\n{USAGE}"
        "\t0  -  Run Bytes Sent By Job\n...\n",
        "IDLE",
    ),
    (
        f"{EXECUTE}005 {HEAD} Job terminated.\n\t(1) Normal termination (return value 3)\n"
        f"{USAGE}...\n",
        "COMPLETED",
    ),
    (
        f"{EXECUTE}005 {HEAD} Job terminated.\n\t(0) Abnormal termination (signal 9)\n"
        f"\t(0) No core file\n{USAGE}...\n",
        "COMPLETED",
    ),
    (
        f"{EXECUTE}007 {HEAD} Shadow exception!\n\tCan no longer talk to condor_starter\n"
        "\t0  -  Run Bytes Sent By Job\n...\n",
        "IDLE",
    ),
    (f"{EXECUTE}009 {HEAD} Job was aborted.\n\tvia condor_rm (by user ewms)\n...\n", "REMOVED"),
    (EXECUTE + SUSPENDED, "SUSPENDED"),
    (f"{EXECUTE}{SUSPENDED}011 {HEAD} Job was unsuspended.\n...\n", "IDLE"),
    (HELD, "HELD: input files could not be transferred (code 13, subcode 2)"),
    (f"{HELD}013 {HEAD} Job was released.\n\tvia condor_release (by user ewms)\n...\n", "IDLE"),
    (
        f"{EXECUTE}022 {HEAD} Job disconnected, attempting to reconnect\n"
        "    Socket between submit and execute hosts closed unexpectedly\n"
        "    Trying to reconnect to slot1_1@host <127.0.0.1:9618>\n...\n",
        "RUNNING",
    ),
    (
        f"{EXECUTE}023 {HEAD} Job reconnected to slot1_1@host\n"
        "    startd address: <127.0.0.1:9618>\n    starter address: <127.0.0.1:9618>\n...\n",
        "RUNNING",
    ),
    (
        f"{EXECUTE}024 {HEAD} Job reconnection failed\n    Job not found at execution machine\n"
        "    Can not reconnect to slot1_1@host, rescheduling job\n...\n",
        "IDLE",
    ),
    # Of these nothing follows.
    (
        f"{EXECUTE}006 {HEAD} Image size of job updated: 35\n\t3  -  MemoryUsage (MB)\n...\n",
        "RUNNING",
    ),
    (f"{EXECUTE}028 {HEAD} Job ad information event triggered.\nProc = 0\n...\n", "RUNNING"),
    (f"{EXECUTE}040 {HEAD} Started transferring input files\n...\n", "RUNNING"),
    (f"{EXECUTE}099 {HEAD} Something that comes with a later HTCondor\n...\n", "RUNNING"),
]


@pytest.mark.parametrize(("text", "status"), TABLE)
def test_what_happens_to_a_proc_is_its_status(text: str, status: str) -> None:
    cluster = Cluster(
        ClusterId(230), TaskforceUuid("TF-1"), 1, 1, datetime(2026, 11, 25, tzinfo=UTC), "/log"
    )
    made, parser = ClusterStatus(cluster), EventParser()
    for event in parser.feed(text.encode()):
        made.apply(event)
    assert made.compound_statuses() == {status: {"": 1}}
    assert parser.n_corrupt == 0


def test_the_table_has_every_event_that_we_read_of_a_proc() -> None:
    of_clusters = {
        EventKind.CLUSTER_SUBMIT, EventKind.CLUSTER_REMOVE, EventKind.FACTORY_PAUSED,
        EventKind.FACTORY_RESUMED,
    }  # fmt: skip
    chirps = {EventKind.GENERIC, EventKind.ATTRIBUTE_UPDATE}
    tried = {event.kind for text, _ in TABLE for event in EventParser().feed(text.encode())}
    assert tried == set(EventKind) - of_clusters - chirps
