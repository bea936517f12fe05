"""An assignment that its agent does not answer is pushed again, but only long after."""

from __future__ import annotations

from datetime import timedelta

from scripted_agent import an_agent
from wms_stack import Wms

from ewms_postgres.statements import statement

_AGE = statement("""
    UPDATE wms.taskforce SET assigned_time = assigned_time - :age::interval
    WHERE taskforce_uuid = :uuid
""")


async def age(wms: Wms, uuid: str, seconds: int) -> None:
    """Move the time when an agent was told into the past."""
    age = timedelta(seconds=seconds)
    assert await wms.server.store.db.execute(_AGE, uuid=uuid, age=age)


async def test_an_unanswered_start_is_pushed_again_after_ten_minutes_with_the_next_attempt(
    wms: Wms,
) -> None:
    await wms.submit()
    async with an_agent(wms) as agent:
        first = await agent.start()
        uuid = first.taskforce.taskforce_uuid

        await age(wms, uuid, 590)
        # Another launch at the schedd wakes its stream.
        await wms.submit()
        other, _ = await agent.runs()
        assert other.taskforce.taskforce_uuid != uuid
        assert agent.arrived() == []

        await age(wms, uuid, 20)
        await wms.submit()
        starts = {start.taskforce.taskforce_uuid: start for start in await agent.starts(2)}
        again = starts.pop(uuid)
        assert (first.attempt, again.attempt) == (1, 2)
        assert [start.attempt for start in starts.values()] == [1]
        assert await agent.failed(first, "of the attempt before")
        assert not await agent.failed(again, "of this one")


async def test_an_unanswered_stop_is_pushed_again_after_ten_minutes_with_the_next_attempt(
    wms: Wms,
) -> None:
    workflow_id = await wms.submit()
    async with an_agent(wms) as agent:
        await agent.runs()
        await wms.end("Finish", workflow_id)
        first = await agent.stop()

        await age(wms, first.taskforce_uuid, 590)
        await wms.submit()
        await agent.runs()
        assert agent.arrived() == []

        await age(wms, first.taskforce_uuid, 20)
        await wms.submit()
        again = await agent.stop()
        await agent.start()
        assert again.taskforce_uuid == first.taskforce_uuid
        assert again.attempt == first.attempt + 1
        assert not await agent.removed(again)
