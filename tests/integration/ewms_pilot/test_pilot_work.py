"""Events go in, results come out, and what fails says why."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import grpc
from pilot_event_server import CREDENTIAL
from pilot_pool import Gate, Pool, until_dead

COPY = "cp {{INFILE}} {{OUTFILE}}"


def script(text: str) -> str:
    """Arguments of a task that runs a script; `$1` and `$2` are its files."""
    return f"sh -c {shlex.quote(text)} sh {{{{INFILE}}}} {{{{OUTFILE}}}}"


async def test_events_become_results_and_the_pilot_ends_with_the_queue(pool: Pool) -> None:
    await pool.server.put("in", b"one", b"two", b"three", name="run-7.i3")
    await pool.server.close_queue("in")
    pilot = await pool.start(COPY)
    assert await pilot.ended() == 0
    out = pool.server.queue("out")
    assert sorted(event.payload for event in out.published) == [b"one", b"three", b"two"]
    assert {event.headers["name"] for event in out.published} == {"run-7.i3"}
    assert len(pool.server.queue("in").acked) == 3
    assert pool.statuses == ["Started", "AwaitingFirstMessage", "Tasking", "Done"]
    assert "ulog HTChirpEWMSPilotTasksSuccess: 3" in pool.chirps
    assert list(pilot.scratch.iterdir()) == []


async def test_a_task_sees_its_own_environment_and_no_secret(pool: Pool) -> None:
    await pool.server.put("in", b"x")
    await pool.server.close_queue("in")
    pilot = await pool.start(
        script('env > "$2"; echo "$1 $2" >> "$2"'),
        task_env_json=json.dumps({"SEED": 7, "TEXT": 'a "b" $c\nd'}),
        infile_ext=".i3.zst",
        outfile_ext=".hdf5",
    )
    assert await pilot.ended() == 0
    text = pool.server.queue("out").published[0].payload.decode()
    assert "SEED=7" in text
    assert 'TEXT=a "b" $c\nd' in text
    assert "EWMS_TASK_DATA_HUB_DIR=" in text
    infile, outfile = text.splitlines()[-1].split()
    assert infile.endswith(".i3.zst")
    assert outfile.endswith(".hdf5")
    assert f"EWMS_TASK_INFILE={infile}" in text
    assert f"EWMS_TASK_OUTFILE={outfile}" in text
    assert "EWMS_PILOT" not in text
    assert CREDENTIAL not in text + pilot.log.decode()


async def test_init_runs_once_and_the_tasks_find_what_it_made(pool: Pool) -> None:
    await pool.server.put("in", b"1", b"2")
    await pool.server.close_queue("in")
    pilot = await pool.start(
        "cp {{DATA_HUB}}/calibration {{OUTFILE}}",
        init_image="init:1",
        init_args="sh -c 'echo $SALT >> $EWMS_TASK_DATA_HUB_DIR/calibration'",
        init_env_json='{"SALT": "once"}',
    )
    assert await pilot.ended() == 0
    assert [e.payload for e in pool.server.queue("out").published] == [b"once\n", b"once\n"]
    assert pool.statuses[:3] == ["Started", "RunningInitCommand", "AwaitingFirstMessage"]


async def test_a_failed_init_ends_the_worker_before_it_takes_an_event(pool: Pool) -> None:
    await pool.server.put("in", b"1")
    pilot = await pool.start(COPY, init_image="i", init_args="sh -c 'echo no disk >&2; exit 9'")
    assert await pilot.ended() == 1
    assert pool.statuses == ["Started", "RunningInitCommand", "FatalError"]
    assert any("init failed: exit code 9: no disk" in chirp for chirp in pool.chirps)
    assert pool.server.queue("in").n_deliveries == {}


async def test_a_bad_event_becomes_a_dead_letter_while_the_others_go_on(pool: Pool) -> None:
    bad, *_ = await pool.server.put("in", b"bad", b"good", b"fine")
    await pool.server.close_queue("in")
    pilot = await pool.start(script('grep -q bad "$1" && { echo corrupt >&2; exit 3; }; cp $1 $2'))
    assert await pilot.ended() == 0
    queue = pool.server.queue("in")
    assert queue.dead == [bad]
    assert queue.nacked == [(bad, True, "exit code 3: corrupt")] * 5
    assert len(pool.server.queue("out").published) == 2
    assert 'ulog HTChirpEWMSPilotError: "exit code 3: corrupt"' in pool.chirps
    assert "ulog HTChirpEWMSPilotTasksFailed: 5" in pool.chirps
    assert pool.statuses[-1] == "Done"


async def test_a_task_without_an_out_file_has_failed_if_there_is_an_outgoing_queue(
    pool: Pool,
) -> None:
    await pool.server.put("in", b"x")
    await pool.server.close_queue("in")
    pilot = await pool.start("true {{INFILE}}")
    assert await pilot.ended() == 0
    assert pool.server.queue("in").nacked[0][2] == "the task wrote no out file"


async def test_a_task_without_an_outgoing_queue_needs_no_out_file(pool: Pool) -> None:
    await pool.server.put("in", b"x")
    await pool.server.close_queue("in")
    pilot = await pool.start("true {{INFILE}}", queue_outgoing="", queue_outgoing_broker_address="")
    assert await pilot.ended() == 0
    assert len(pool.server.queue("in").acked) == 1


async def test_a_link_as_out_file_publishes_nothing(pool: Pool) -> None:
    await pool.server.put("in", b"x")
    await pool.server.close_queue("in")
    pilot = await pool.start("ln -s /etc/passwd {{OUTFILE}}")
    assert await pilot.ended() == 0
    assert "cannot be read" in pool.server.queue("in").nacked[0][2]
    assert pool.server.queue("out").published == []


async def test_okay_errors_are_acknowledged_and_what_they_wrote_is_published(pool: Pool) -> None:
    await pool.server.put("in", b"exit 3", b"echo no hits here >&2; exit 1", b"echo y >$2; exit 3")
    unknown, *_ = await pool.server.put("in", b"exit 4")
    await pool.server.close_queue("in")
    pilot = await pool.start(script(". $1"), okay_errors="3; no hits")
    assert await pilot.ended() == 0
    queue = pool.server.queue("in")
    assert len(queue.acked) == 3
    assert queue.dead == [unknown]
    assert [event.payload for event in pool.server.queue("out").published] == [b"y\n"]


async def test_a_task_over_its_time_is_killed_with_all_its_processes(
    pool: Pool, tmp_path: Path
) -> None:
    await pool.server.put("in", b"x")
    await pool.server.close_queue("in")
    # A background process that ignores the polite signal and has written its id.
    child = f"trap '' TERM; echo $$ >> {tmp_path}/pids; while :; do sleep 60; done"
    pilot = await pool.start(
        script(f"sh -c {shlex.quote(child)} & wait"), task_timeout="0.3", okay_errors="timed out"
    )
    assert await pilot.ended() == 0
    (pid,) = (tmp_path / "pids").read_text().split()
    await until_dead(int(pid))
    assert len(pool.server.queue("in").acked) == 1


async def test_two_tasks_at_once_meet_one_another(pool: Pool, tmp_path: Path) -> None:
    await pool.server.put("in", b"ping", b"pong")
    await pool.server.close_queue("in")
    # Each writes to a pipe that only the other reads: alone, neither would end.
    for name in ("ping", "pong"):
        os.mkfifo(tmp_path / name)
    meet = (
        f"cd {tmp_path}; if grep -q ping $1; then echo a > ping; cat pong > $2;"
        " else cat ping > $2; echo b > pong; fi"
    )
    pilot = await pool.start(script(meet), max_concurrent_tasks="2", prefetch="0")
    assert await pilot.ended() == 0
    assert sorted(e.payload for e in pool.server.queue("out").published) == [b"a\n", b"b\n"]


async def test_every_incoming_queue_is_read_and_every_outgoing_one_written(pool: Pool) -> None:
    address = pool.server.address
    for name in ("left", "right"):
        await pool.server.put(name, name.encode())
        await pool.server.close_queue(name)
    pilot = await pool.start(
        COPY,
        queue_incoming="left;right",
        queue_incoming_broker_address=f"{address};{address}",
        queue_outgoing="a;b",
        queue_outgoing_broker_address=f"{address};{address}",
    )
    assert await pilot.ended() == 0
    for name in ("a", "b"):
        payloads = sorted(event.payload for event in pool.server.queue(name).published)
        assert payloads == [b"left", b"right"]


async def test_events_of_one_id_on_two_queues_have_results_of_their_own(pool: Pool) -> None:
    address = pool.server.address
    (event_id,) = await pool.server.put("left", b"left")
    await pool.server.put("right", b"right")
    pool.server.queue("right").ready[0].event_id = event_id
    for name in ("left", "right"):
        await pool.server.close_queue(name)
    pilot = await pool.start(
        COPY, queue_incoming="left;right", queue_incoming_broker_address=f"{address};{address}"
    )
    assert await pilot.ended() == 0
    assert len(pool.server.queue("out").published) == 2


async def test_a_queue_that_stays_empty_ends_the_pilot_after_its_timeout(pool: Pool) -> None:
    pilot = await pool.start(COPY, timeout_queue_wait_for_first_message="0.2")
    assert await pilot.ended() == 0
    assert pool.statuses == ["Started", "AwaitingFirstMessage", "Done"]


async def test_a_long_task_is_not_taken_for_an_empty_queue(pool: Pool, gate: Gate) -> None:
    await pool.server.put("in", b"x")
    pool.server.lease = 0.3
    pilot = await pool.start(gate.command(), timeout_queue_incoming="0.2")
    end = await gate.reached()
    # Four thirds of the lease: twice the time after which an empty queue would end the pilot.
    await pool.server.until(lambda: pool.server.queue("in").n_extensions >= 4)
    gate.open(end)
    assert await pilot.ended() == 0
    assert len(pool.server.queue("out").published) == 1
    assert pool.statuses[-1] == "Done"


async def test_a_worker_can_be_told_to_stop_at_the_first_error(pool: Pool) -> None:
    await pool.server.put("in", b"x", b"y", b"z")
    pilot = await pool.start(
        "false", stop_listening_on_task_error="true", quarantine_time="0.2", prefetch="2"
    )
    assert await pilot.ended() == 1
    queue = pool.server.queue("in")
    assert len(queue.nacked) == 1
    assert len(queue.ready) == 3
    assert not queue.flights
    assert pool.statuses[-1] == "FatalError"


async def test_tasks_that_still_run_are_finished_before_a_worker_stops(
    pool: Pool, gate: Gate
) -> None:
    slow, _ = await pool.server.put("in", b"slow", b"bad")
    pool.server.lease = 0.6
    task = f"grep -q slow $1 || exit 1; read go < {gate.path}; cp $1 $2"
    pilot = await pool.start(
        script(task), stop_listening_on_task_error="true", max_concurrent_tasks="2"
    )
    end = await gate.reached()
    await pool.until_chirped("PendingRemainingTasks")
    queue = pool.server.queue("in")
    n_extensions = queue.n_extensions
    await pool.server.until(lambda: queue.n_extensions >= n_extensions + 4)
    gate.open(end)
    assert await pilot.ended() == 1
    assert queue.acked == [slow]
    assert queue.n_deliveries[slow] == 1


async def test_a_result_for_a_closed_queue_is_a_dead_letter_at_once(pool: Pool) -> None:
    await pool.server.put("in", b"x")
    await pool.server.close_queue("in")
    await pool.server.close_queue("out")
    pilot = await pool.start(COPY)
    assert await pilot.ended() == 0
    ((_, requeue, reason),) = pool.server.queue("in").nacked
    assert not requeue
    assert reason == "the outgoing queue out is closed"


async def test_a_queue_that_refuses_the_worker_for_good_ends_it(pool: Pool) -> None:
    pool.server.queue("in").refuses_with = grpc.StatusCode.PERMISSION_DENIED
    pilot = await pool.start(COPY)
    assert await pilot.ended() == 1
    assert pool.statuses[-1] == "FatalError"
    assert any("PERMISSION_DENIED" in chirp for chirp in pool.chirps)


async def test_a_wrong_environment_is_named_and_its_secrets_are_removed(pool: Pool) -> None:
    pilot = await pool.start(COPY, prefetch="many")
    assert await pilot.ended() == 2
    assert b"EWMS_PILOT_PREFETCH" in pilot.log
    assert not (pilot.scratch / "secrets.json").exists()
