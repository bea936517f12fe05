"""Statuses of a cluster, from its events."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ewms_tms.grid import Cluster, TaskforceUuid
from ewms_tms.job_events import CLUSTER_PROC, ClusterId, EventKind, JobEvent, ProcId
from ewms_tms.statuses import ClusterStatus

NOW = datetime(2026, 11, 23, tzinfo=UTC)
N_WORKERS = 5


def event(kind: EventKind, proc: int = 0, **details: Any) -> JobEvent:
    return JobEvent(kind, ClusterId(1), ProcId(proc), NOW, **details)


def cluster_status(n_workers: int = N_WORKERS, *events: JobEvent) -> ClusterStatus:
    status = ClusterStatus(Cluster(ClusterId(1), TaskforceUuid("TF-1"), 1, n_workers, NOW, "/log"))
    for each in events:
        status.apply(each)
    return status


def chirp(text: str, proc: int = 0) -> JobEvent:
    return event(EventKind.GENERIC, proc, text=text)


def test_workers_that_no_event_has_named_wait() -> None:
    assert cluster_status(3).compound_statuses() == {"IDLE": {"": 3}}
    assert cluster_status(3, event(EventKind.EXECUTE)).compound_statuses() == {
        "IDLE": {"": 2},
        "RUNNING": {"": 1},
    }


def test_what_a_pilot_says_is_counted_under_its_job_status() -> None:
    status = cluster_status(
        2,
        event(EventKind.EXECUTE, 0),
        event(EventKind.EXECUTE, 1),
        chirp('HTChirpEWMSPilotStatus: "Tasking"', 0),
        chirp("HTChirpEWMSPilotStatus: AwaitingFirstMessage", 1),
        chirp("HTChirpEWMSPilotTasksTotal: 12", 1),
    )
    assert status.compound_statuses() == {"RUNNING": {"Tasking": 1, "AwaitingFirstMessage": 1}}


def test_what_a_pilot_sets_in_its_jobs_ad_counts_as_what_it_says() -> None:
    status = cluster_status(1, event(EventKind.EXECUTE))
    for text in ('HTChirpEWMSPilotStatus: "Done"', r'HTChirpEWMSPilotError: "no \"a\\b\""'):
        assert status.apply(event(EventKind.ATTRIBUTE_UPDATE, text=text))
    assert not status.apply(event(EventKind.ATTRIBUTE_UPDATE, text="JobPrio: 3"))
    assert status.compound_statuses() == {"RUNNING": {"Done": 1}}
    assert status.top_task_errors() == {r'no "a\b"': 1}


def test_an_evicted_workers_pilot_is_forgotten_an_ended_ones_is_kept() -> None:
    started = [event(EventKind.EXECUTE), chirp("HTChirpEWMSPilotStatus: Done")]
    evicted = cluster_status(1, *started, event(EventKind.EVICTED))
    assert evicted.compound_statuses() == {"IDLE": {"": 1}}
    ended = cluster_status(1, *started, event(EventKind.TERMINATED, exit_code=0))
    assert ended.compound_statuses() == {"COMPLETED": {"Done": 1}}


def test_a_hold_says_why_in_words() -> None:
    held = cluster_status(1, event(EventKind.HELD, hold_code=34, hold_subcode=102, text="slot1…"))
    assert held.compound_statuses() == {
        "HELD: memory usage exceeds the limit (code 34, subcode 102)": {"": 1}
    }
    unknown = cluster_status(1, event(EventKind.HELD, hold_code=999, text="who knows"))
    assert unknown.compound_statuses() == {"HELD: who knows (code 999, subcode 0)": {"": 1}}


def test_a_paused_factory_shows_its_waiting_workers_as_held() -> None:
    pause = event(EventKind.FACTORY_PAUSED, CLUSTER_PROC, hold_code=1)
    status = cluster_status(3, event(EventKind.EXECUTE), pause)
    assert status.compound_statuses() == {
        "HELD: put on hold by request (code 1, subcode 0)": {"": 2},
        "RUNNING": {"": 1},
    }
    status.apply(event(EventKind.FACTORY_RESUMED, CLUSTER_PROC))
    assert status.compound_statuses() == {"IDLE": {"": 2}, "RUNNING": {"": 1}}


def test_the_ten_most_common_errors_are_kept() -> None:
    status = cluster_status(1)
    for number in range(12):
        for _ in range(number + 1):
            status.apply(chirp(f'HTChirpEWMSPilotError: "error {number}"'))
    top = status.top_task_errors()
    assert len(top) == 10
    assert top["error 11"] == 12
    assert "error 1" not in top


def test_the_memory_for_errors_is_bounded() -> None:
    status = cluster_status(1, *[chirp("HTChirpEWMSPilotError: common")] * 3)
    for number in range(5_000):
        status.apply(chirp(f"HTChirpEWMSPilotError: once {number}"))
    assert status.top_task_errors()["common"] == 3


def test_outcomes_say_how_every_worker_ended() -> None:
    status = cluster_status(
        6,
        event(EventKind.TERMINATED, 0, exit_code=0),
        event(EventKind.TERMINATED, 1, exit_code=0),
        event(EventKind.TERMINATED, 2, signal=9),
        event(EventKind.HELD, 3, hold_code=34),
        event(EventKind.ABORTED, 3),
        event(EventKind.ABORTED, 4),
        event(EventKind.CLUSTER_REMOVE, CLUSTER_PROC),
    )
    outcomes = status.outcomes()
    assert outcomes.exit_codes == {0: 2}
    assert outcomes.signals == {9: 1}
    assert outcomes.hold_codes == {34: 1}
    assert outcomes.n_removed == 2
    assert status.complete_time == NOW


PROC_EVENTS = st.builds(
    JobEvent,
    st.sampled_from([kind for kind in EventKind if kind < EventKind.CLUSTER_SUBMIT]),
    st.just(ClusterId(1)),
    st.integers(0, N_WORKERS - 1).map(ProcId),
    st.just(NOW),
    st.sampled_from(["HTChirpEWMSPilotStatus: Tasking", "HTChirpEWMSPilotError: bad", "x"]),
    exit_code=st.integers(0, 3),
    hold_code=st.integers(1, 40),
)
CLUSTER_EVENTS = st.builds(
    JobEvent,
    st.sampled_from([kind for kind in EventKind if kind > EventKind.CLUSTER_SUBMIT]),
    st.just(ClusterId(1)),
    st.just(CLUSTER_PROC),
    st.just(NOW),
)


@given(st.lists(PROC_EVENTS | CLUSTER_EVENTS, max_size=60))
def test_the_counts_always_add_up_to_the_workers_asked_for(events: list[JobEvent]) -> None:
    status = cluster_status(N_WORKERS)
    ended = 0
    for each in events:
        before = status.compound_statuses()
        has_changed = status.apply(each)
        counts = status.compound_statuses()
        assert sum(sum(pilots.values()) for pilots in counts.values()) == N_WORKERS
        assert all(count > 0 for pilots in counts.values() for count in pilots.values())
        assert has_changed or counts == before
        now_ended = sum(counts.get("COMPLETED", {}).values())
        assert now_ended >= ended
        ended = now_ended
    outcomes = status.outcomes()
    total = sum(outcomes.exit_codes.values()) + sum(outcomes.hold_codes.values())
    assert total + sum(outcomes.signals.values()) + outcomes.n_removed == N_WORKERS
