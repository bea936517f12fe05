"""Launching: how many of those who wait go now."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wms_grpc.domain.launching import HasTurn, count_launchable

_waiting = st.lists(st.builds(HasTurn, st.integers(1, 500), st.integers(0, 200)), max_size=20)


def _turns(*n_workers: int, priority: int = 50) -> list[HasTurn]:
    return [HasTurn(n, priority) for n in n_workers]


def test_each_goes_as_long_as_fewer_are_idle_than_the_limit() -> None:
    assert count_launchable(_turns(40, 40, 40, 40), 0, 100) == 3
    assert count_launchable(_turns(40, 40), 100, 100) == 0
    assert count_launchable(_turns(40, 40), 99, 100) == 1


def test_one_that_is_larger_than_the_limit_is_not_stuck() -> None:
    assert count_launchable(_turns(1_000_000, 1), 0, 100) == 1


def test_above_the_users_priorities_there_is_no_limit() -> None:
    assert count_launchable(_turns(10, 10, priority=101), 100, 100) == 2
    assert count_launchable(_turns(10, priority=100), 100, 100) == 0


def test_nobody_overtakes_who_has_the_turn() -> None:
    assert count_launchable([*_turns(1), *_turns(1, priority=150)], 100, 100) == 0


@given(_waiting, st.integers(0, 300), st.integers(1, 300))
def test_who_goes_had_room_before_them_or_needs_none(
    waiting: list[HasTurn], n_idle: int, limit: int
) -> None:
    waiting.sort(key=lambda turn: -turn.priority)

    n_going = count_launchable(waiting, n_idle, limit)

    before = [n_idle + sum(turn.n_workers for turn in waiting[:n]) for n in range(len(waiting))]
    may_go = [
        idle < limit or turn.priority > 100 for idle, turn in zip(before, waiting, strict=True)
    ]
    assert all(may_go[:n_going])
    assert n_going == len(waiting) or not may_go[n_going]
