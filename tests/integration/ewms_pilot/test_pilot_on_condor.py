"""Pilots as jobs of a real HTCondor pool: as a plain process and in containers, in either form.

They need what `make condor` starts and what `make images` makes, put where the pool's jobs find it
(`scripts/condor-pool.sh put`, which `make condor` does).
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pilot_event_server import CREDENTIAL, EventServer

_SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"
_HOME = Path(os.environ.get("EWMS_POOL_HOME", "/opt/ewms-htcondor"))
_SHARED = _HOME / "work" / "shared"
_NEEDED = ("ewms-pilot", "pilot", "pilot.sif", "task", "task.sif")


@dataclass(frozen=True)
class Jobs:
    """Jobs of a test, in a folder that the pool's daemons see."""

    folder: Path

    async def run(self, schedd: str, server: EventServer, description: str, **env: str) -> str:
        """Run a pilot as a job to its end; returns how it ended."""
        variables = {
            "EWMS_PILOT_QUEUE_CREDENTIAL": CREDENTIAL,
            "EWMS_PILOT_TASK_ARGS": "cp {{INFILE}} {{OUTFILE}}",
            "EWMS_PILOT_QUEUE_INCOMING": "in",
            "EWMS_PILOT_QUEUE_INCOMING_BROKER_ADDRESS": server.address,
            "EWMS_PILOT_QUEUE_OUTGOING": "out",
            "EWMS_PILOT_QUEUE_OUTGOING_BROKER_ADDRESS": server.address,
            "EWMS_PILOT_HTCHIRP": "true",
            **{f"EWMS_PILOT_{name.upper()}": value for name, value in env.items()},
        }
        secrets = self.folder / "secrets.json"
        secrets.write_text(json.dumps(variables))
        secrets.chmod(0o600)
        shutil.chown(secrets, "ewms")
        text = (
            f"{description}\n"
            f"initialdir = {self.folder}\n"
            f"log = {self.log}\n"
            "error = pilot.err\n"
            "should_transfer_files = yes\n"
            'transfer_output_files = ""\n'
            "environment = EWMS_PILOT_ENV_FILE=secrets.json\n"
            "request_memory = 512M\n"
            "request_disk = 500M\n"
            "+WantIOProxy = true\n"
            # Has the log say what the ad says, after each event.
            "job_ad_information_attrs = HTChirpEWMSPilotStatus\n"
        )
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, str(Path(__file__).with_name("condor_job.py")), schedd],
            input=text, text=True, capture_output=True,
            env={**os.environ, "CONDOR_CONFIG": str(_HOME / "client.conf")},
        )  # fmt: skip
        return f"{done.stdout.strip()} {done.stderr}".strip()

    @property
    def log(self) -> Path:
        return self.folder / "events"

    @property
    def said(self) -> str:
        """What the pilot wrote, and the pool about it: to look into when a test fails."""
        found = [self.folder / "pilot.err", self.log]
        return "\n".join(path.read_text(errors="replace") for path in found if path.exists())


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    # Not imported here: the bindings change the environment of who imports them.
    if importlib.util.find_spec("htcondor2") is None:
        pytest.skip("no HTCondor bindings (pip install htcondor)")
    if os.geteuid() != 0:
        pytest.skip("only root may leave a file to the pool's account")
    running = subprocess.run(
        [str(_SCRIPTS / "condor-pool.sh"), "status"], capture_output=True, check=False
    )
    if running.returncode:
        pytest.skip("no HTCondor pool runs here (make condor)")
    if lacking := [name for name in _NEEDED if not (_SHARED / name).exists()]:
        pytest.skip(f"the pool has no {', '.join(lacking)} (make images condor)")
    folder = Path(tempfile.mkdtemp(prefix="pilot-", dir=_HOME / "work"))
    folder.chmod(0o1777)
    yield Jobs(folder)
    shutil.rmtree(folder)


PLAIN = f"executable = {_SHARED}/ewms-pilot\ntransfer_input_files = secrets.json"


def in_container(image: str, inputs: str = "") -> str:
    """A pilot in this image."""
    return (
        "universe = container\n"
        f"container_image = {_SHARED}/{image}\n"
        "executable = /usr/bin/ewms-pilot\n"
        "transfer_executable = false\n"
        f"transfer_input_files = secrets.json{inputs}"
    )


FORMS = {
    "one file, plain tasks": (PLAIN, {"runner": "process", "task_image": "none"}),
    "one file, tasks in a folder": (PLAIN, {"task_image": f"{_SHARED}/task"}),
    "pilot in a folder, plain tasks": (
        in_container("pilot"),
        {"runner": "process", "task_image": "none"},
    ),
    "pilot in a folder, tasks in a folder": (
        in_container("pilot"),
        {"task_image": f"{_SHARED}/task"},
    ),
    "pilot in a file, tasks in a file": (
        in_container("pilot.sif"),
        {"task_image": f"{_SHARED}/task.sif"},
    ),
    "pilot in a file, tasks in an input file": (
        in_container("pilot.sif", f", {_SHARED}/task.sif"),
        {"task_image": "task.sif"},
    ),
}


@pytest.mark.parametrize("form", FORMS)
async def test_a_pilot_works_as_a_job(jobs: Jobs, server: EventServer, form: str) -> None:
    description, settings = FORMS[form]
    await server.put("in", b"one", b"two")
    await server.close_queue("in")
    ended = await jobs.run("ewms-schedd@localhost", server, description, **settings)
    assert ended == "ended with 0", jobs.said
    assert sorted(event.payload for event in server.queue("out").published) == [b"one", b"two"]
    log = await asyncio.to_thread(jobs.log.read_text)
    for status in ("Started", "AwaitingFirstMessage", "Tasking", "Done"):
        assert f'HTChirpEWMSPilotStatus: "{status}"' in log
    assert "HTChirpEWMSPilotTasksSuccess: 2" in log
    assert CREDENTIAL not in log
    assert 'HTChirpEWMSPilotStatus = "Done"' in log, "the job's ad has no status"


async def test_a_pilot_tells_in_the_jobs_ad(jobs: Jobs, server: EventServer) -> None:
    await server.put("in", b"one")
    await server.close_queue("in")
    ended = await jobs.run(
        "ewms-schedd2@localhost", server, in_container("pilot"),
        runner="process", task_image="none", htchirp_dest="JOB_ATTR",
    )  # fmt: skip
    assert ended == "ended with 0", jobs.said
    # The pool puts into its log what it has set.
    log = await asyncio.to_thread(jobs.log.read_text)
    assert re.search('job attribute HTChirpEWMSPilotStatus .*to "Done"', log)
