"""Who gets a slot of the local pool, and when."""

from __future__ import annotations

from collections import Counter

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


def test_a_worker_whose_memory_is_not_free_lets_others_pass_and_keeps_its_turn() -> None:
    pool = Pool(n_slots=4, memory_bytes=10 * MEGABYTE, n_cores=4)
    big, small = Waiting(c1=1), Waiting(c2=3)
    pool.take((ClusterId(9), ProcId(0)), WorkerLimits(1, 8 * MEGABYTE, 0, 60, 0))
    limits = {**big.limits(8 * MEGABYTE), **small.limits(MEGABYTE)}

    def next_proc(cluster: ClusterId) -> ProcId | None:
        return (big if cluster == 1 else small).next_proc(cluster)

    started = pool.allot(limits, next_proc)
    assert clusters(started) == [2, 2]
    pool.give_back((ClusterId(9), ProcId(0)))
    assert clusters(pool.allot(limits, next_proc)) == [1]


def test_workers_that_were_adopted_beyond_the_slots_are_counted_and_none_is_added() -> None:
    pool = Pool(n_slots=2, memory_bytes=1 << 40, n_cores=1)
    limits = WorkerLimits(1, MEGABYTE, 0, 60, 0)
    for proc in range(3):
        pool.take((ClusterId(1), ProcId(proc)), limits)
    waiting = Waiting(c2=1)
    assert pool.free_slots == 0
    assert pool.allot(waiting.limits(), waiting.next_proc) == []


@given(
    st.lists(st.tuples(st.integers(1, 6), st.integers(1, 4 * MEGABYTE)), max_size=8),
    st.lists(st.integers(0, 20), max_size=30),
)
def test_slots_and_memory_are_never_exceeded(sizes: list[tuple[int, int]], ends: list[int]) -> None:
    pool = Pool(n_slots=3, memory_bytes=8 * MEGABYTE, n_cores=2)
    waiting = Waiting(**{f"c{number}": n for number, (n, _) in enumerate(sizes)})

    def limits() -> dict[ClusterId, WorkerLimits]:
        return {
            cluster: WorkerLimits(1, sizes[cluster][1], 0, 60, 0)
            for cluster, n in waiting.left.items()
            if n
        }

    for end in [0, *ends]:
        running = sorted(pool.taken)
        if running:
            pool.give_back(running[end % len(running)])
        pool.allot(limits(), waiting.next_proc)
        assert len(pool.taken) <= 3
        assert sum(taken.memory_bytes for taken in pool.taken.values()) == pool.used_memory_bytes
        assert pool.used_memory_bytes <= 8 * MEGABYTE
