"""Events go in, results come out, and what fails says why."""

from __future__ import annotations

from pilot_pool import Pool


async def test_events_become_results_and_the_pilot_ends_with_the_queue(pool: Pool) -> None:
    await pool.server.put("in", b"one", b"two", b"three", name="run-7.i3")
    await pool.server.close_queue("in")
    pilot = await pool.start("cp {{INFILE}} {{OUTFILE}}")
    assert await pilot.ended() == 0
    out = pool.server.queue("out")
    assert sorted(event.payload for event in out.published) == [b"one", b"three", b"two"]
    assert {event.headers["name"] for event in out.published} == {"run-7.i3"}
    assert len(pool.server.queue("in").acked) == 3
    assert pool.statuses == ["Started", "AwaitingFirstMessage", "Tasking", "Done"]
    assert "ulog HTChirpEWMSPilotTasksSuccess: 3" in pool.chirps
    assert list(pilot.scratch.iterdir()) == []
