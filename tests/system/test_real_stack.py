"""The real demo, whole, and with every part killed in the middle: HTCondor, RabbitMQ, PostgreSQL.

`scripts/demo_real.py` checks everything itself: each result against its event, one cluster for each
taskforce by the schedds' ads, neither queue nor job left.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from rabbitmq_node import is_installed

ROOT = Path(__file__).resolve().parents[2]
POOL = Path(os.environ.get("EWMS_POOL_HOME", "/opt/ewms-htcondor"))

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(autouse=True)
def _site() -> None:
    """What has to be installed; the demo starts it."""
    if os.geteuid() != 0:
        pytest.skip("needs root, for the account of the pool's jobs")
    if not (POOL / "client.conf").exists():
        pytest.skip("no HTCondor pool here (make condor)")
    if not is_installed():
        pytest.skip("RabbitMQ is not installed (make rabbitmq)")
    if shutil.which("pgbouncer") is None or not list(Path("/usr/lib/postgresql").glob("*/bin")):
        pytest.skip("Debian's PostgreSQL or PgBouncer is not installed (make postgres)")
    if not (ROOT / "build" / "ewms-pilot").exists():
        pytest.skip("no pilot as one file (make pilot)")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where the demo makes its own: not below pytest's, through which PostgreSQL cannot pass."""
    made = Path(tempfile.mkdtemp(prefix="ewms-test-real-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


def real_demo(folder: Path, *options: str) -> str:
    """Run it to its end; what it says."""
    output = folder / "output"
    with output.open("wb") as file:
        code = subprocess.run(
            [sys.executable, str(ROOT / "scripts" / "demo_real.py"), *options],
            env={**os.environ, "TMPDIR": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    said = output.read_text()
    assert code == 0, said
    return said


def leftovers(folder: Path) -> list[str]:
    """The names of processes that the demo has left: all of its own know its folder."""
    found = []
    for process in psutil.process_iter(["name"]):
        with contextlib.suppress(psutil.Error):
            if process.environ().get("TMPDIR") == str(folder):
                found.append(process.info["name"])
    return found


def test_ten_workers_on_two_schedds_have_every_result_right(folder: Path) -> None:
    said = real_demo(folder, "--events", "600")
    assert "600 results, each checked against its event: all right" in said
    assert "came more than once" not in said
    assert len(re.findall(r"was cluster \d+ of \S+, and nothing else", said)) == 2
    assert leftovers(folder) == []


def test_every_part_is_killed_in_the_middle_and_nothing_is_lost(folder: Path) -> None:
    said = real_demo(folder, "--events", "1600", "--kills")
    for victim in ("schedd", "RabbitMQ", "PostgreSQL", "PgBouncer", "WMS", "MQS", "TMS north"):
        assert re.search(rf"killing .*{victim}", said), said
    assert "1600 results, each checked against its event: all right" in said
    assert len(re.findall(r"was cluster \d+ of \S+, and nothing else", said)) == 2
    assert leftovers(folder) == []
