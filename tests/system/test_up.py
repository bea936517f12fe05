"""`ewms up`: one command that runs the whole stack, keeps it running, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from running_stack import EWMS, RunningStack

from ewms_rpc.health import await_serving

pytestmark = pytest.mark.timeout(300)


def until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Other processes' states have no event to wait on."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with RunningStack(tmp_path_factory.mktemp("stack")) as running:
        yield running.await_ready()


async def test_once_ready_both_servers_answer(stack: RunningStack) -> None:
    await await_serving(stack.wms, deadline=1)
    await await_serving(stack.mqs, deadline=1)


def test_a_client_reaches_it_at_the_address_that_it_prints(stack: RunningStack) -> None:
    listed = subprocess.run(
        [EWMS, "list", "--json", "--wms", stack.wms], capture_output=True, text=True, timeout=60
    )
    assert (listed.returncode, listed.stdout) == (0, "")


def test_a_second_one_on_the_same_folder_names_the_first_and_ends(stack: RunningStack) -> None:
    second = subprocess.run(
        [EWMS, "up", "--data", str(stack.data), "--wms", "127.0.0.1:0", "--mqs", "127.0.0.1:0"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert second.returncode == 1
    assert f"in use by process {stack.pid}" in second.stderr
    assert second.stdout == ""


def test_a_second_one_on_the_same_port_says_so_and_never_works_for_the_first(
    stack: RunningStack, tmp_path: Path
) -> None:
    parts = stack.parts()
    with RunningStack(tmp_path, "--wms", stack.wms) as second:
        assert second.end() == 1
        assert f"cannot listen on {stack.wms}: address already in use" in second.output
        assert "the wms does not start" in second.output
        # Its TMS has looked for the WMS there, and was told that this is not its own.
        assert "a server of another stack listens here" in second.output
        assert "another agent" not in second.output
        assert not second.is_ready
    assert len(set(re.findall(r"agent_id=(\S+)", stack.output))) == 1
    assert stack.parts() == parts


@pytest.mark.parametrize("name", ["wms", "mqs", "tms"])
async def test_a_part_that_is_killed_is_started_again(stack: RunningStack, name: str) -> None:
    killed = stack.parts()[name]
    killed.kill()
    until(lambda: stack.parts().get(name, killed).pid != killed.pid, f"{name} did not come back")
    await await_serving(stack.wms, deadline=60)
    await await_serving(stack.mqs, deadline=60)


def test_a_postgres_that_is_killed_is_started_again(stack: RunningStack) -> None:
    killed = stack.postmaster()
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    until(lambda: stack.postmaster() not in (None, killed), "PostgreSQL did not come back")

    def answers() -> bool:
        return not subprocess.run([EWMS, "list", "--wms", stack.wms], timeout=60).returncode

    until(answers, "the WMS does not answer again")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_everything_that_it_started(
    tmp_path: Path, number: signal.Signals
) -> None:
    with RunningStack(tmp_path) as stack:
        parts = stack.await_ready().parts()
        assert set(parts) == {"wms", "mqs", "tms"}
        assert stack.stop(number) == 0
        assert "did not stop in time" not in stack.output
        assert not any(part.is_running() for part in parts.values())
        assert stack.postmaster() is None, stack.output
        assert stack.others() == []


def test_killed_it_takes_its_parts_along_and_the_next_one_adopts_postgres(tmp_path: Path) -> None:
    with RunningStack(tmp_path) as killed:
        parts = killed.await_ready().parts()
        postmaster = killed.postmaster()
        killed.stop(signal.SIGKILL)
        gone, alive = psutil.wait_procs(parts.values(), timeout=10)
        assert (len(gone), alive) == (3, [])
        with RunningStack(tmp_path) as following:
            assert following.await_ready().postmaster() == postmaster
            assert following.stop() == 0
            assert following.postmaster() is None


def test_a_folder_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "format").write_text("1000\n")
    with RunningStack(tmp_path) as stack:
        assert stack.end() == 1
        assert "has format 1000" in stack.output
    assert not (tmp_path / "postgres").exists()


def test_a_part_that_cannot_start_is_given_up_with_its_reason(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with RunningStack(tmp_path, "--mqs", f"127.0.0.1:{taken.getsockname()[1]}") as stack:
            assert stack.end() == 1
            assert "the mqs does not start" in stack.output
            assert not stack.is_ready
            assert not (tmp_path / "postgres" / "postmaster.pid").exists()
