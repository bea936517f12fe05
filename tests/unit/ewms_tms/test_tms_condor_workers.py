"""Counting a schedd's workers by its log."""

from __future__ import annotations

from datetime import UTC, datetime

from ewms_tms.grid import TaskforceUuid
from ewms_tms.grid.condor_workers import Workers
from ewms_tms.job_events import CLUSTER_PROC, ClusterId, EventKind, JobEvent, ProcId
from ewms_tms.submission_notes import SubmissionNotes

NOW = datetime(2026, 11, 25, tzinfo=UTC)


def event(kind: EventKind, proc: int = CLUSTER_PROC, text: str = "") -> JobEvent:
    return JobEvent(kind, ClusterId(7), ProcId(proc), NOW, text)


SUBMITTED = event(EventKind.CLUSTER_SUBMIT, text=str(SubmissionNotes(TaskforceUuid("TF-1"), 2, 5)))


def test_procs_that_the_schedd_has_not_made_yet_wait() -> None:
    workers = Workers()
    workers.apply([SUBMITTED, event(EventKind.EXECUTE, 0), event(EventKind.EXECUTE, 1)])
    assert (workers.n_idle, workers.n_running) == (3, 2)
    workers.apply([event(EventKind.EVICTED, 0), event(EventKind.TERMINATED, 1)])
    assert (workers.n_idle, workers.n_running) == (4, 0)


def test_what_is_held_neither_waits_nor_runs() -> None:
    workers = Workers()
    workers.apply([SUBMITTED, event(EventKind.EXECUTE, 0), event(EventKind.HELD, 0)])
    assert (workers.n_idle, workers.n_running) == (4, 0)
    workers.apply([event(EventKind.FACTORY_PAUSED)])
    assert workers.n_idle == 0
    workers.apply([event(EventKind.FACTORY_RESUMED), event(EventKind.RELEASED, 0)])
    assert workers.n_idle == 5


def test_a_cluster_that_leaves_is_named_and_counts_no_more() -> None:
    workers = Workers()
    events = [SUBMITTED, event(EventKind.EXECUTE, 0), event(EventKind.CLUSTER_REMOVE)]
    (gone,) = workers.apply(events)
    assert (gone.taskforce, gone.attempt) == ("TF-1", 2)
    assert (workers.n_idle, workers.n_running) == (0, 0)
    # The log is read again after a restart.
    assert len(workers.apply(events)) == 1
    assert (workers.n_idle, workers.n_running) == (0, 0)


def test_clusters_of_others_do_not_count() -> None:
    workers = Workers()
    workers.apply([event(EventKind.CLUSTER_SUBMIT, text=""), event(EventKind.EXECUTE, 0)])
    assert (workers.n_idle, workers.n_running) == (0, 0)
