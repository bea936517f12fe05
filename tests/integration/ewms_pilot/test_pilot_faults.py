"""What a kill, an outage or an expired token does to events: nothing."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from pilot_event_server import EventServer
from pilot_pool import Gate, Pool, children_of, until_dead

COPY = "cp {{INFILE}} {{OUTFILE}}"


async def test_a_kill_between_publishing_and_acknowledging_makes_no_second_result(
    pool: Pool,
) -> None:
    server = pool.server
    server.lease = 0.4
    server.holds_confirmations = True
    (event_id,) = await server.put("in", b"x")
    await server.close_queue("in")
    pilot = await pool.start(COPY)
    await server.until(lambda: bool(server.queue("out").published))
    pilot.kill()
    await pilot.ended()
    assert server.queue("in").acked == []
    server.holds_confirmations = False
    assert await (await pool.start(COPY)).ended() == 0
    assert server.queue("in").acked == [event_id]
    assert server.queue("in").n_deliveries[event_id] == 2
    assert [event.payload for event in server.queue("out").published] == [b"x"]
    assert server.queue("out").n_repeats == 1


async def test_a_killed_pilot_takes_its_tasks_and_their_children_along(
    pool: Pool, gate: Gate, tmp_path: Path
) -> None:
    await pool.server.put("in", b"x")
    before = f"echo $$ >> {tmp_path}/pids; sleep 600 & echo $! >> {tmp_path}/pids;"
    pilot = await pool.start(gate.command(before=before))
    await gate.reached()
    pilot.kill()
    pids = (tmp_path / "pids").read_text().split()
    assert len(pids) == 2
    for pid in pids:
        await until_dead(int(pid))


async def test_a_broker_that_restarts_in_the_middle_of_a_task_costs_no_second_run(
    pool: Pool, gate: Gate
) -> None:
    server = pool.server
    first, second = await server.put("in", b"x", b"y")
    pilot = await pool.start(gate.command())
    end = await gate.reached()
    await server.cut_off()
    await server.start()
    gate.open(end)
    await server.until(lambda: server.queue("in").acked == [first])
    gate.open(await gate.reached())
    await server.close_queue("in")
    assert await pilot.ended() == 0
    assert server.queue("in").acked == [first, second]
    assert server.queue("in").n_deliveries == {first: 1, second: 1}
    assert server.queue("in").n_streams == 2
    assert len(server.queue("out").published) == 2


async def test_a_result_waits_for_a_broker_that_is_away(pool: Pool, gate: Gate) -> None:
    server = pool.server
    (event_id,) = await server.put("in", b"x")
    await server.close_queue("in")
    pilot = await pool.start(gate.command(then="cp $1 $2; echo ready >&2"))
    end = await gate.reached()
    await server.cut_off()
    gate.open(end)
    await pilot.until_said(b"queue out: no token yet")
    await server.start()
    assert await pilot.ended() == 0
    assert server.queue("in").acked == [event_id]
    assert len(server.queue("out").published) == 1


async def test_a_lease_is_extended_for_as_long_as_its_task_runs(pool: Pool, gate: Gate) -> None:
    server = pool.server
    server.lease = 0.5
    working, waiting = await server.put("in", b"x", b"y")
    await server.close_queue("in")
    pilot = await pool.start(gate.command(), prefetch="1")
    end = await gate.reached()
    await server.until(lambda: server.queue("in").n_extensions >= 6)
    gate.open(end)
    await server.until(lambda: server.queue("in").acked == [working])
    gate.open(await gate.reached())
    assert await pilot.ended() == 0
    assert server.queue("in").n_deliveries == {working: 1, waiting: 1}


async def test_a_delivery_that_was_given_to_somebody_else_stops_its_task(
    pool: Pool, gate: Gate
) -> None:
    server = pool.server
    server.lease = 0.5
    (event_id,) = await server.put("in", b"x")
    pilot = await pool.start(gate.command(before="echo here >&2;"), prefetch="0")
    await gate.reached()
    queue = server.queue("in")
    server.lose(queue, next(iter(queue.flights)))
    queue.ready.clear()
    other, *_ = await server.put("in", b"y")
    await server.until(lambda: queue.n_deliveries.get(other) == 1)
    # The second task stands at the gate only when the first one, which held its slot, is gone.
    while pilot.log.count(b"here") < 2:
        await pilot.until_more_said()
    gate.open(await gate.reached())
    await server.until(lambda: queue.acked == [other])
    await server.close_queue("in")
    assert await pilot.ended() == 0
    assert [event.payload for event in server.queue("out").published] == [b"y"]
    assert b"is lost" in pilot.log
    assert event_id not in queue.acked


async def test_tokens_are_renewed_before_they_expire(pool: Pool, gate: Gate) -> None:
    server = pool.server
    server.token_life = 1.6
    server.lease = 0.3
    await server.put("in", b"x")
    await server.close_queue("in")
    pilot = await pool.start(gate.command())
    end = await gate.reached()
    # Calls go on all the time (extensions on the stream; settlements after the break, by id).
    await server.until(lambda: len(server.renewals_with) >= 2)
    await server.cut_off()
    await server.start()
    await server.until(lambda: len(server.renewals_with) >= 4)
    gate.open(end)
    assert await pilot.ended() == 0
    assert set(server.renewals_with) == {"credential"}
    assert b"UNAUTHENTICATED" not in pilot.log


async def test_a_token_that_came_with_the_job_is_used_and_renews_itself(
    pool: Pool, gate: Gate
) -> None:
    server = pool.server
    server.token_life = 1.0
    await server.put("in", b"x")
    await server.close_queue("in")
    pilot = await pool.start(
        gate.command(),
        env_file="",
        queue_incoming_auth_token=server.token("in"),
        queue_outgoing_auth_token=server.token("out"),
    )
    end = await gate.reached()
    await server.until(lambda: len(server.renewals_with) >= 3)
    gate.open(end)
    assert await pilot.ended() == 0
    assert set(server.renewals_with) == {"token"}


async def test_a_token_that_expired_with_the_waiting_job_is_replaced(pool: Pool) -> None:
    server = pool.server
    await server.put("in", b"x")
    await server.close_queue("in")
    pilot = await pool.start(COPY, queue_incoming_auth_token=server.token("in", life=-5.0))
    assert await pilot.ended() == 0
    assert b"UNAUTHENTICATED" not in pilot.log


async def test_sigterm_gives_everything_back_and_kills_even_a_stubborn_task(
    pool: Pool, gate: Gate, tmp_path: Path
) -> None:
    server = pool.server
    await server.put("in", b"x", b"y")
    before = f'trap "" TERM; echo $$ > {tmp_path}/pid;'
    pilot = await pool.start(gate.command(before=before), max_concurrent_tasks="1")
    await gate.reached()
    pid = int((tmp_path / "pid").read_text())
    started = time.monotonic()
    pilot.process.send_signal(signal.SIGTERM)
    pilot.process.send_signal(signal.SIGTERM)
    assert await pilot.ended() == 143
    assert time.monotonic() - started < 5
    await until_dead(pid)
    queue = server.queue("in")
    assert len(queue.given_back) == 1
    assert len(queue.ready) == 2
    assert queue.nacked == []
    assert server.queue("out").published == []
    assert list(pilot.scratch.iterdir()) == []


async def test_without_its_spawner_a_pilot_ends_and_loses_nothing(pool: Pool, gate: Gate) -> None:
    await pool.server.put("in", b"x")
    pilot = await pool.start(gate.command())
    await gate.reached()
    (spawner,) = children_of(pilot.process.pid)
    os.kill(spawner, signal.SIGKILL)
    assert await pilot.ended() == 1
    assert len(pool.server.queue("in").ready) == 1


async def test_pilots_that_are_killed_again_and_again_lose_and_double_nothing(
    pool: Pool,
) -> None:
    server: EventServer = pool.server
    server.lease = 0.3
    payloads = [str(number).encode() for number in range(30)]
    await server.put("in", *payloads)
    await server.close_queue("in")
    for n_results in (3, 9, 17):
        pilot = await pool.start(COPY)
        await server.until(lambda n=n_results: len(server.queue("out").published) >= n)
        pilot.kill()
        await pilot.ended()
    assert await (await pool.start(COPY)).ended() == 0
    results = sorted(event.payload for event in server.queue("out").published)
    assert results == sorted(payloads)
    assert server.queue("in").dead == []
