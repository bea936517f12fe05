"""The README's commands, run as they stand there; only addresses and the database are the test's.

A block is run if the line above it says `<!-- tested: NAME -->`. The two commands at the top are
run by `.ci/run`.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from running_stack import EWMS, STOP_SECONDS, RunningStack

pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"<!-- tested: (\w+) -->\n```\w+\n(.*?)```", re.DOTALL)
_BLOCKS = dict(_BLOCK.findall((ROOT / "README.md").read_text()))


def commands(name: str) -> list[str]:
    """The lines of a console block that follow a prompt."""
    return [line[2:] for line in _BLOCKS[name].splitlines() if line.startswith("$ ")]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like the repository to who reads the README."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "examples", folder / "examples")
    for name in ("README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


@pytest.fixture(scope="module")
def stack(checkout: Path) -> Iterator[RunningStack]:
    activate, up = commands("stack")
    assert activate == "source .venv/bin/activate"
    ewms, command, option, folder = shlex.split(up)
    assert (ewms, command, option) == ("ewms", "up", "--data")
    with RunningStack(checkout / folder) as running:
        yield running.await_ready()


def test_a_dag_is_submitted_watched_and_drawn(stack: RunningStack, checkout: Path) -> None:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(commands("order"))],
        cwd=checkout,
        env={
            **os.environ,
            "EWMS_WMS": stack.wms,
            "PATH": f"{checkout}/.venv/bin:{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCEEDED" in done.stdout
    assert "flowchart TD" in done.stdout


def test_a_user_gets_his_files_back(stack: RunningStack, checkout: Path) -> None:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(commands("client"))],
        cwd=checkout,
        env={**os.environ, "EWMS_WMS": stack.wms},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FINISHED" in done.stdout
    for name in ("README.md", "LICENSE"):
        assert (checkout / "results" / name).read_bytes() == (ROOT / name).read_bytes()


def test_python_does_the_same(stack: RunningStack, checkout: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _BLOCKS["python"].replace("127.0.0.1:50051", stack.wms)],
        cwd=checkout,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == ["b'one'", "b'two'"]


def test_parts_run_as_programs_of_their_own_on_one_database(
    checkout: Path, database_url: str
) -> None:
    text = "\n".join(commands("servers"))
    for address in sorted(set(re.findall(r"127\.0\.0\.1:\d+", text))):
        text = text.replace(address, free_address())
    lines = [shlex.split(line) for line in text.splitlines()]
    upgrade, *servers = [
        [EWMS, *(database_url if part.startswith("postgresql:") else part for part in line[1:])]
        for line in lines
    ]
    subprocess.run(upgrade, check=True, timeout=60)
    with ExitStack() as running:
        for command in servers:
            running.enter_context(serving(command, checkout))
        one, other = (line[line.index("--listen") + 1] for line in lines if line[1] == "wms")
        workflow = ewms(checkout, one, "submit", "examples/copy.json").split()[-1]
        ewms(checkout, other, "publish", workflow, "input-queue", "LICENSE")
        ewms(checkout, one, "consume", workflow, "output-queue", "--count", "1", "--to", "copied")
        ewms(checkout, other, "finish", workflow)
        ewms(checkout, one, "watch", workflow)
    assert (checkout / "copied" / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def ewms(folder: Path, wms: str, *arguments: str) -> str:
    """What a client's command prints; it must end with 0."""
    done = subprocess.run(
        [EWMS, *arguments, "--wms", wms], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def serving(command: list[str], folder: Path) -> Iterator[None]:
    """A server from when it says that it serves until it has stopped, which it must cleanly."""
    with (folder / "servers.log").open("ab") as log:
        server = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        assert server.stdout is not None
        said = server.stdout.readline()
        assert said.startswith(("listening on", "watching")), (folder / "servers.log").read_text()
        yield
        server.terminate()
        assert server.wait(STOP_SECONDS) == 0
    finally:
        server.kill()
        server.wait()
