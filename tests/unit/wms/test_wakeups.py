"""Wake-ups: none is lost, whoever sends it and whenever."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from wms_grpc.domain.topics import ACTIVATION, LAUNCH_ANYWHERE, Topic, assign_topic, launch_topic
from wms_grpc.engine.wakeups import WAKE_CHANNEL, Wakeups

_LATE = 5.0
_OSG = launch_topic("osg")


def _silent() -> Wakeups:
    return Wakeups(lambda channel, payload: None)


async def _returns_early(wakeups: Wakeups, seen: int, topic: Topic = _OSG) -> bool:
    clock = asyncio.get_running_loop().time
    start = clock()
    await wakeups.wait(topic, seen, _LATE)
    return clock() - start < _LATE / 2


async def test_one_that_waits_is_woken() -> None:
    wakeups = _silent()
    waiting = asyncio.create_task(_returns_early(wakeups, wakeups.seen(_OSG)))
    await asyncio.sleep(0)

    wakeups.wake([_OSG])

    assert await waiting


async def test_a_wake_up_while_its_loop_works_is_not_lost() -> None:
    wakeups = _silent()
    seen = wakeups.seen(_OSG)

    wakeups.wake([_OSG])

    assert await _returns_early(wakeups, seen)


async def test_waiting_ends_by_itself() -> None:
    wakeups = _silent()

    await wakeups.wait(ACTIVATION, wakeups.seen(ACTIVATION), 0.001)


async def test_room_anywhere_wakes_every_location_and_agent_even_one_that_works() -> None:
    wakeups = _silent()
    topics = (_OSG, launch_topic("local"), assign_topic("sub"))
    seen = {topic: wakeups.seen(topic) for topic in topics}

    wakeups.wake([LAUNCH_ANYWHERE])

    for topic in topics:
        assert await _returns_early(wakeups, seen[topic], topic)


async def test_a_gap_in_the_notifications_wakes_everyone() -> None:
    wakeups = _silent()
    seen = wakeups.seen(ACTIVATION)

    wakeups.wake_all()

    assert await _returns_early(wakeups, seen, ACTIVATION)


async def test_two_processes_wake_each_other_and_not_themselves_twice() -> None:
    sent: list[tuple[str, str]] = []
    here, elsewhere = Wakeups(lambda *message: sent.append(message)), _silent()
    seen = elsewhere.seen(_OSG)

    here.wake([_OSG])
    after = here.seen(_OSG)
    for channel, payload in sent:
        assert channel == WAKE_CHANNEL
        here.heard(payload)
        elsewhere.heard(payload)

    assert await _returns_early(elsewhere, seen)
    assert here.seen(_OSG) == after


@given(st.lists(st.sampled_from(["wake", "work", "yield"]), max_size=30))
def test_a_loop_looks_once_more_after_every_wake_up(script: list[str]) -> None:
    async def play() -> None:
        wakeups = _silent()
        n_woken, looked_at = 0, -1

        async def loop() -> None:
            nonlocal looked_at
            while True:
                seen = wakeups.seen(_OSG)
                looked_at = n_woken
                await asyncio.sleep(0)
                await wakeups.wait(_OSG, seen, _LATE)

        looping = asyncio.create_task(loop())
        for act in script:
            if act == "wake":
                n_woken += 1
                wakeups.wake([_OSG])
            elif act == "yield":
                await asyncio.sleep(0)
        for _ in range(6):
            await asyncio.sleep(0)
        looping.cancel()
        assert looked_at == n_woken

    asyncio.run(play())
