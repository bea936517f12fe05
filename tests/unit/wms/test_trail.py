"""Trails: what they hold, what they let go, and what their followers are given."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wms_grpc.domain.errors import PositionLost
from wms_grpc.engine.trail import Follower, Ring, Trail
from wms_grpc.storage.feed_parts import RevisionPart, place_of, whole


def part_of(revision: int, part: int = 0, *, is_last: bool = True) -> RevisionPart:
    return RevisionPart(*place_of(revision, part, is_last), b"x" * 744, False)


SIZE = part_of(1).size


def follow(trail: Trail[RevisionPart], behind: int) -> Follower[RevisionPart]:
    follower = Follower(trail)
    trail.join(follower)
    follower.position = whole(behind)
    trail.begin(whole(behind))
    return follower


def test_parts_are_taken_in_order_and_once():
    trail: Trail[RevisionPart] = Trail(Ring(10**6))
    follower = follow(trail, 3)
    for part in (part_of(4), part_of(5, 0, is_last=False), part_of(5, 1), part_of(6)):
        assert trail.append(part)
    places = []
    while (part := follower.take()) is not None:
        places.append(part.position)
    assert places == [whole(4), (5, 0), whole(5), whole(6)]


@pytest.mark.parametrize("wrong", [part_of(3), part_of(5), part_of(4, 1), part_of(2)])
def test_what_does_not_follow_is_not_put_on(wrong: RevisionPart):
    trail: Trail[RevisionPart] = Trail(Ring(10**6))
    follow(trail, 3)
    assert not trail.append(wrong)
    assert trail.newest == whole(3)


def test_the_oldest_part_of_any_trail_goes_when_all_hold_too_much():
    ring = Ring(3 * SIZE)
    one: Trail[RevisionPart] = Trail(ring)
    two: Trail[RevisionPart] = Trail(ring)
    behind, ahead = follow(one, 0), follow(two, 0)
    for number in (1, 2):
        one.append(part_of(number))
        two.append(part_of(number))
    assert ring.bytes_held == 3 * SIZE
    assert behind.is_behind
    assert behind.take() is None
    behind.catch_up([part_of(1)])
    assert [behind.take(), behind.take(), behind.take()] == [part_of(1), part_of(2), None]
    assert [ahead.take(), ahead.take(), ahead.take()] == [part_of(1), part_of(2), None]


def test_the_last_one_to_leave_takes_all_with_it():
    ring = Ring(10**6)
    trail: Trail[RevisionPart] = Trail(ring)
    first, second = follow(trail, 0), follow(trail, 0)
    trail.append(part_of(1))
    trail.leave(first)
    assert ring.bytes_held == SIZE
    trail.leave(second)
    assert ring.bytes_held == 0
    assert not trail.append(part_of(2))
    assert ring.bytes_held == 0


def test_a_gap_in_what_was_read_is_never_passed_over():
    trail: Trail[RevisionPart] = Trail(Ring(0))
    follower = follow(trail, 0)
    for number in (1, 2, 3):
        trail.append(part_of(number))
    follower.catch_up([part_of(2)])
    with pytest.raises(PositionLost):
        follower.take()


async def test_one_call_wakes_all_who_wait_and_losing_the_trail_ends_them():
    trail: Trail[RevisionPart] = Trail(Ring(10**6))
    followers = [follow(trail, 0) for _ in range(100)]
    async with asyncio.TaskGroup() as tasks:
        for follower in followers:
            tasks.create_task(follower.wait())
        await asyncio.sleep(0)
        trail.lose()
    for follower in followers:
        with pytest.raises(PositionLost):
            follower.take()


@given(
    max_bytes=st.integers(0, 6 * SIZE),
    steps=st.lists(st.one_of(st.just("append"), st.integers(0, 2)), max_size=60),
)
def test_each_follower_takes_every_revision_once_however_little_is_held(max_bytes, steps):
    ring = Ring(max_bytes)
    trail: Trail[RevisionPart] = Trail(ring)
    table: list[RevisionPart] = []
    followers = [follow(trail, 0) for _ in range(3)]
    taken: list[list[int]] = [[] for _ in followers]

    def take(number: int) -> None:
        follower = followers[number]
        if follower.is_behind:
            follower.catch_up(table[follower.position[0] :][:2])
        part = follower.take()
        if part is not None:
            taken[number].append(part.position[0])

    for step in steps:
        if step == "append":
            table.append(part_of(len(table) + 1))
            assert trail.append(table[-1])
            assert ring.bytes_held <= max_bytes
        else:
            take(step)
    for number in range(3):
        for _ in table:
            take(number)
        assert taken[number] == list(range(1, len(table) + 1))
