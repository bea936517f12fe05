"""A lane runs in one batch what has gathered while the one before was on its way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from ewms_mqs.coalescing import Lane


class Work:
    """Records batches, and holds each until it is let go."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.began = asyncio.Event()
        self.go = asyncio.Event()
        self.idle = asyncio.Event()

    def lane(self, max_weight: int = 100) -> Lane[str, str]:
        return Lane(self.run, max_weight, self.idle.set)

    async def run(self, items: Sequence[str]) -> Sequence[str]:
        self.batches.append(list(items))
        self.began.set()
        await self.go.wait()
        if "bad" in items:
            raise ValueError("bad")
        return [item.upper() for item in items]


async def test_what_comes_meanwhile_goes_together_and_each_gets_its_own_result() -> None:
    work = Work()
    lane = work.lane()
    first = lane.submit("a", 1)
    await work.began.wait()
    later = [lane.submit(item, 1) for item in "bcd"]
    work.go.set()
    assert await first == "A"
    assert await asyncio.gather(*later) == ["B", "C", "D"]
    assert work.batches == [["a"], ["b", "c", "d"]]


async def test_a_batch_stays_within_its_weight_but_takes_at_least_one() -> None:
    work = Work()
    work.go.set()
    lane = work.lane(max_weight=10)
    futures = [lane.submit(str(weight), weight) for weight in (4, 6, 1, 50, 2)]
    await asyncio.gather(*futures)
    assert work.batches == [["4", "6"], ["1"], ["50"], ["2"]]


async def test_a_failure_reaches_all_of_its_batch_and_none_after() -> None:
    work = Work()
    lane = work.lane(max_weight=2)
    work.go.set()
    futures = [lane.submit(item, 1) for item in ("bad", "with", "good")]
    for future in futures[:2]:
        with pytest.raises(ValueError, match="bad"):
            await future
    assert await futures[2] == "GOOD"


async def test_one_who_gives_up_waiting_does_not_stop_the_others() -> None:
    work = Work()
    lane = work.lane()
    first = lane.submit("a", 1)
    second = lane.submit("b", 1)
    first.cancel()
    work.go.set()
    assert await second == "B"
    assert work.batches == [["a", "b"]]


async def test_a_lane_says_when_it_is_idle_and_runs_again_after_that() -> None:
    work = Work()
    work.go.set()
    lane = work.lane()
    await lane.submit("a", 1)
    await work.idle.wait()
    assert await lane.submit("b", 1) == "B"
