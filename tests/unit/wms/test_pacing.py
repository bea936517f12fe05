"""Work on very many values leaves others their turns."""

from __future__ import annotations

import asyncio

from wms_grpc.storage.pacing import paced


async def test_others_get_a_turn_while_very_many_values_are_worked_on() -> None:
    seen_by_others: list[int] = []
    done: list[int] = []

    async def look() -> None:
        while len(done) < 1000:
            seen_by_others.append(len(done))
            await asyncio.sleep(0)

    looking = asyncio.create_task(look())
    results = await paced(lambda value: done.append(value) or -value, range(1000))
    await looking

    assert results == [-value for value in range(1000)]
    assert any(0 < number < 1000 for number in seen_by_others)


async def test_few_values_are_worked_on_without_a_pause() -> None:
    turns: list[str] = []
    other = asyncio.create_task(asyncio.sleep(0))
    other.add_done_callback(lambda _: turns.append("other"))

    await paced(turns.append, ["a", "b"])

    assert turns == ["a", "b"]
    await other
