"""A cluster of the local adapter, from its events."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from ewms_tms.grid.local_cluster import ClusterSpec, LocalCluster
from ewms_tms.job_events import ClusterId, EventKind, JobEvent, ProcId

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def new_cluster(n_workers: int, *events: tuple[EventKind, int]) -> LocalCluster:
    spec = ClusterSpec(ClusterId(1), n_workers, ("pilot",), "/log", False, 1, 1, 1, 60, 0)
    cluster = LocalCluster(spec, Path("/nowhere"))
    for kind, proc in events:
        cluster.apply(JobEvent(kind, ClusterId(1), ProcId(proc), NOW))
    return cluster


def test_procs_are_handed_out_once_lowest_first_and_those_that_came_back_before_new_ones() -> None:
    cluster = new_cluster(5, (EventKind.EXECUTE, 0), (EventKind.EVICTED, 0))
    assert [cluster.next_proc() for _ in range(6)] == [0, 1, 2, 3, 4, None]


def test_what_is_launched_no_longer_counts_as_idle() -> None:
    cluster = new_cluster(3, (EventKind.SUBMIT, 0))
    assert cluster.n_idle == 3
    cluster.next_proc()
    cluster.next_proc()
    assert (cluster.n_idle, cluster.waiting) == (1, True)
    cluster.apply(JobEvent(EventKind.EXECUTE, ClusterId(1), ProcId(0), NOW))
    assert cluster.n_idle == 1


def test_a_paused_or_removed_cluster_hands_out_nothing() -> None:
    paused = new_cluster(3, (EventKind.FACTORY_PAUSED, -1))
    assert (paused.next_proc(), paused.waiting, paused.n_idle) == (None, False, 0)
    paused.apply(JobEvent(EventKind.FACTORY_RESUMED, ClusterId(1), ProcId(-1), NOW))
    assert paused.next_proc() == 0
    removed = new_cluster(3)
    removed.removal = "no longer wanted"
    assert removed.next_proc() is None
    assert not removed.launched


def test_a_cluster_is_over_when_all_have_ended_or_nothing_runs_of_a_removed_one() -> None:
    cluster = new_cluster(2, (EventKind.TERMINATED, 0))
    assert not cluster.is_over
    cluster.apply(JobEvent(EventKind.TERMINATED, ClusterId(1), ProcId(1), NOW))
    assert cluster.is_over
    removed = new_cluster(2, (EventKind.EXECUTE, 0))
    removed.removal = "no longer wanted"
    assert not removed.is_over
    removed.apply(JobEvent(EventKind.ABORTED, ClusterId(1), ProcId(0), NOW))
    assert removed.is_over


def test_a_release_forgets_the_starts_that_led_to_the_hold() -> None:
    run = [(EventKind.EXECUTE, 0), (EventKind.EVICTED, 0)]
    cluster = new_cluster(1, *run * 5, (EventKind.HELD, 0))
    assert cluster.n_starts[ProcId(0)] == 5
    cluster.apply(JobEvent(EventKind.RELEASED, ClusterId(1), ProcId(0), NOW))
    assert cluster.n_starts.get(ProcId(0), 0) == 0


def test_an_event_that_is_read_again_does_not_bring_an_ended_proc_back() -> None:
    cluster = new_cluster(1, (EventKind.TERMINATED, 0), (EventKind.SUBMIT, 0))
    assert cluster.is_over


def test_a_proc_whose_own_event_is_missing_is_not_lost() -> None:
    cluster = new_cluster(4, (EventKind.EXECUTE, 2))
    assert [cluster.next_proc() for _ in range(4)] == [0, 1, 3, None]
