"""Who gets a slot of the local pool, and when."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ewms_tms.grid import WorkerLimits
from ewms_tms.grid.local_pool import Pool, WorkerKey
from ewms_tms.job_events import ClusterId, ProcId

MEGABYTE = 1 << 20


class Waiting:
    """Clusters with so many waiting workers each."""

    def __init__(self, **workers: int) -> None:
        self.left = Counter({ClusterId(int(name[1:])): n for name, n in workers.items()})

    def limits(self, memory: int = MEGABYTE) -> dict[ClusterId, WorkerLimits]:
        return {cluster: WorkerLimits(1, memory, 0, 60, 0) for cluster, n in self.left.items() if n}

    def next_proc(self, cluster: ClusterId) -> ProcId | None:
        if not self.left[cluster]:
            return None
        self.left[cluster] -= 1
        return ProcId(self.left[cluster])


def clusters(keys: list[WorkerKey]) -> list[int]:
    return [cluster for cluster, _ in keys]


def test_slots_go_round_the_clusters_however_many_workers_each_has() -> None:
    waiting = Waiting(c1=1000, c2=2, c3=1000)
    pool = Pool(n_slots=7, memory_bytes=1 << 40, n_cores=4)
    assert clusters(pool.allot(waiting.limits(), waiting.next_proc)) == [1, 2, 3, 1, 2, 3, 1]


def test_a_slot_that_is_given_back_goes_to_whose_turn_it_is() -> None:
    waiting = Waiting(c1=10, c2=10)
    pool = Pool(n_slots=1, memory_bytes=1 << 40, n_cores=4)
    turns = []
    for _ in range(6):
        (key,) = pool.allot(waiting.limits(), waiting.next_proc)
        turns.append(key[0])
        pool.give_back(key)
    assert turns == [1, 2, 1, 2, 1, 2]


@pytest.mark.parametrize(
    ("cores", "memory"), [(1, 8 * MEGABYTE), (3, MEGABYTE)], ids=["memory", "cores"]
)
def test_whose_turn_it_is_and_does_not_fit_holds_back_those_that_come_later(
    cores: int, memory: int
) -> None:
    pool = Pool(n_slots=4, memory_bytes=10 * MEGABYTE, n_cores=4)
    pool.take((ClusterId(9), ProcId(0)), WorkerLimits(2, 8 * MEGABYTE, 0, 60, 0))
    waiting = Waiting(c1=1, c2=3)
    limits = waiting.limits() | {ClusterId(1): WorkerLimits(cores, memory, 0, 60, 0)}
    assert pool.allot(limits, waiting.next_proc) == []
    pool.give_back((ClusterId(9), ProcId(0)))
    assert clusters(pool.allot(limits, waiting.next_proc))[0] == 1


def test_a_worker_takes_a_slot_for_each_of_its_cores() -> None:
    pool = Pool(n_slots=8, memory_bytes=1 << 40, n_cores=4)
    waiting = Waiting(c1=10)
    limits = {ClusterId(1): WorkerLimits(3, MEGABYTE, 0, 60, 0)}
    assert len(pool.allot(limits, waiting.next_proc)) == 2
    assert pool.free_slots == 2


def test_a_wide_worker_runs_though_narrow_ones_never_stop_coming() -> None:
    pool = Pool(n_slots=4, memory_bytes=1 << 40, n_cores=4)
    waiting = Waiting(c1=1000, c2=1)
    limits = {
        ClusterId(1): WorkerLimits(1, MEGABYTE, 0, 60, 0),
        ClusterId(2): WorkerLimits(4, MEGABYTE, 0, 60, 0),
    }
    started = clusters(pool.allot({ClusterId(1): limits[ClusterId(1)]}, waiting.next_proc))
    for _ in range(5):
        pool.give_back(min(pool.taken))
        started += clusters(pool.allot(limits, waiting.next_proc))
    # The narrow one has a turn before the wide one's comes; then four have to end.
    assert started == [1, 1, 1, 1, 1, 2]


def test_what_could_never_run_is_told_and_holds_nobody_back() -> None:
    pool = Pool(n_slots=4, memory_bytes=1 << 30, n_cores=4)
    wide, large = (
        WorkerLimits(5, MEGABYTE, 0, 60, 0),
        WorkerLimits(1, 3 << 30, 0, 60, 0),
    )
    assert pool.lack(wide) == (
        "a worker asks for 5 cores, and this machine's pool has 4 slots, one for each core"
    )
    assert pool.lack(large) == "a worker asks for 3.0 GiB of memory, and this machine has 1.0 GiB"
    assert pool.lack(WorkerLimits(4, 1 << 30, 0, 60, 0)) is None
    waiting = Waiting(c1=1, c2=1, c3=1)
    limits = waiting.limits() | {ClusterId(1): wide, ClusterId(2): large}
    assert clusters(pool.allot(limits, waiting.next_proc)) == [3]


def test_workers_that_were_adopted_beyond_the_slots_are_counted_and_none_is_added() -> None:
    pool = Pool(n_slots=2, memory_bytes=1 << 40, n_cores=1)
    limits = WorkerLimits(1, MEGABYTE, 0, 60, 0)
    for proc in range(3):
        pool.take((ClusterId(1), ProcId(proc)), limits)
    waiting = Waiting(c2=1)
    assert pool.free_slots == 0
    assert pool.allot(waiting.limits(), waiting.next_proc) == []


@given(
    st.lists(
        st.tuples(st.integers(1, 6), st.integers(1, 4 * MEGABYTE), st.integers(1, 3)), max_size=8
    ),
    st.lists(st.integers(0, 20), max_size=30),
)
def test_slots_and_memory_are_never_exceeded(
    sizes: list[tuple[int, int, int]], ends: list[int]
) -> None:
    pool = Pool(n_slots=3, memory_bytes=8 * MEGABYTE, n_cores=2)
    waiting = Waiting(**{f"c{number}": n for number, (n, _, _) in enumerate(sizes)})

    def limits() -> dict[ClusterId, WorkerLimits]:
        return {
            cluster: WorkerLimits(sizes[cluster][2], sizes[cluster][1], 0, 60, 0)
            for cluster, n in waiting.left.items()
            if n
        }

    for end in [0, *ends]:
        running = sorted(pool.taken)
        if running:
            pool.give_back(running[end % len(running)])
        pool.allot(limits(), waiting.next_proc)
        assert pool.used_cores <= 3
        assert sum(taken.n_cores for taken in pool.taken.values()) == pool.used_cores
        assert sum(taken.memory_bytes for taken in pool.taken.values()) == pool.used_memory_bytes
        assert pool.used_memory_bytes <= 8 * MEGABYTE


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 4)), min_size=1, max_size=6))
def test_all_that_wait_run_in_the_end_whatever_their_widths(sizes: list[tuple[int, int]]) -> None:
    pool = Pool(n_slots=4, memory_bytes=1 << 40, n_cores=2)
    waiting = Waiting(**{f"c{number}": n for number, (n, _) in enumerate(sizes)})
    started: list[WorkerKey] = []
    while waiting.left.total():
        limits = {
            cluster: WorkerLimits(sizes[cluster][1], MEGABYTE, 0, 60, 0)
            for cluster, n in waiting.left.items()
            if n
        }
        started += pool.allot(limits, waiting.next_proc)
        pool.give_back(min(pool.taken))
    assert len(started) == sum(n for n, _ in sizes)
