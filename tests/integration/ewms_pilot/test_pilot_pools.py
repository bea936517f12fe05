"""What surrounds a pilot on a real pool: Apptainer, condor_chirp, or neither of them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from pilot_pool import Gate, Pool, is_alive, until_dead

needs_apptainer = pytest.mark.skipif(
    shutil.which("apptainer") is None, reason="apptainer is not installed on this machine"
)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A sandbox of this machine's own shell and `cp`, with the libraries that they need."""
    root = tmp_path / "image"
    for folder in ("bin", "etc", "proc", "sys", "dev", "tmp", "var/tmp", "root", "home"):
        (root / folder).mkdir(parents=True)
    for name in ("passwd", "group", "hosts", "resolv.conf"):
        (root / "etc" / name).touch()
    for program in ("sh", "cp", "cat", "env", "sleep"):
        found = shutil.which(program)
        assert found is not None
        shutil.copy(found, root / "bin" / program)
        listed = subprocess.run(["ldd", found], capture_output=True, text=True, check=True).stdout
        for word in listed.split():
            if word.startswith("/"):
                target = root / word.lstrip("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(word, target)
    return root


@needs_apptainer
async def test_apptainer_runs_init_and_tasks_with_their_files_and_nothing_else(
    pool: Pool, image: Path
) -> None:
    await pool.server.put("in", b"event")
    await pool.server.close_queue("in")
    pilot = await pool.start(
        "sh -c 'cat $1 {{DATA_HUB}}/calibration > $2; env >> $2' sh {{INFILE}} {{OUTFILE}}",
        runner="apptainer",
        task_image=str(image),
        task_env_json='{"TEXT": "a $HOME \\"b\\""}',
        init_image=str(image),
        init_args="sh -c 'echo once > $EWMS_TASK_DATA_HUB_DIR/calibration'",
    )
    assert await pilot.ended(60) == 0
    text = pool.server.queue("out").published[0].payload.decode()
    assert text.startswith("eventonce\n")
    assert 'TEXT=a $HOME "b"' in text
    assert "EWMS_TASK_INFILE=/ewms-pilot-data/task-io/" in text
    assert "EWMS_PILOT" not in text
    assert "_CONDOR_SCRATCH_DIR" not in text


@needs_apptainer
async def test_a_container_over_its_time_and_one_of_a_killed_pilot_leave_nothing(
    pool: Pool, image: Path
) -> None:
    await pool.server.put("in", b"x")
    # The length of the sleep is a name by which its process is found, inside and outside.
    seconds = f"9{os.getpid()}"
    settings = {"runner": "apptainer", "task_image": str(image)}
    pilot = await pool.start(
        f"sh -c 'sleep {seconds} & wait'", task_timeout="1.5", okay_errors="timed", **settings
    )
    await pool.server.until(lambda: len(pool.server.queue("in").acked) == 1, timeout=60)
    assert _sleeping(seconds) == []
    await pool.server.put("in", b"y")
    await pool.server.until(lambda: bool(pool.server.queue("in").flights))
    async with pool.server.changed:
        await pool.server.changed.wait_for(lambda: bool(_sleeping(seconds)))
    (pid,) = _sleeping(seconds)
    pilot.kill()
    await until_dead(pid)


def _sleeping(seconds: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and is_alive(int(entry.name)):
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[:2] == [b"sleep", seconds.encode()]:
                found.append(int(entry.name))
    return found


async def test_condor_chirp_is_used_where_there_is_no_socket(pool: Pool, tmp_path: Path) -> None:
    await pool.server.put("in", b"x")
    await pool.server.close_queue("in")
    programs = tmp_path / "bin"
    programs.mkdir()
    chirp = programs / "condor_chirp"
    chirp.write_text(f'#!/bin/sh\nprintf "%s|" "$@" >> {tmp_path}/told; echo >> {tmp_path}/told\n')
    chirp.chmod(0o755)
    pilot = await pool.start(
        "cp {{INFILE}} {{OUTFILE}}", chirp_socket="", path=f"{programs}:{os.environ['PATH']}"
    )
    assert await pilot.ended() == 0
    told = (tmp_path / "told").read_text().splitlines()
    assert told[0] == 'ulog|HTChirpEWMSPilotStatus: "Started"|'
    assert "ulog|HTChirpEWMSPilotTasksSuccess: 1|" in told
    # What is said in the log goes to the job's ad, too.
    assert told[-2:] == [
        'ulog|HTChirpEWMSPilotStatus: "Done"|',
        'set_job_attr_delayed|HTChirpEWMSPilotStatus|"Done"|',
    ]


async def test_a_pool_without_chirps_does_not_fail_the_work(pool: Pool) -> None:
    await pool.server.put("in", b"x")
    await pool.server.close_queue("in")
    pilot = await pool.start("cp {{INFILE}} {{OUTFILE}}", chirp_socket="")
    assert await pilot.ended() == 0
    assert len(pool.server.queue("out").published) == 1


async def test_sigterm_before_anything_has_come_ends_the_pilot_at_once(
    pool: Pool, gate: Gate
) -> None:
    pilot = await pool.start(gate.command())
    await pool.until_chirped("AwaitingFirstMessage")
    pilot.process.send_signal(signal.SIGTERM)
    assert await pilot.ended(3) == 143
