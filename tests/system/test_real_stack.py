"""The real demo, whole, and with every part killed in the middle: HTCondor, RabbitMQ, PostgreSQL.

`scripts/demo_real.py` checks everything itself: each result against its event, one cluster for each
taskforce by the schedds' ads, neither queue nor job left.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
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


def real_demo(folder: Path, *options: str) -> str:
    """Run it to its end; what it says."""
    output = folder / "output"
    with output.open("wb") as file:
        code = subprocess.run(
            [sys.executable, str(ROOT / "scripts" / "demo_real.py"), *options],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    said = output.read_text()
    assert code == 0, said
    return said


def leftovers() -> list[str]:
    """The command lines of processes that a real demo has left."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or ())
        if "/ewms-demo-real-" in line:
            found.append(line)
    return found


def test_ten_workers_on_two_schedds_have_every_result_right(tmp_path: Path) -> None:
    said = real_demo(tmp_path, "--events", "600")
    assert "600 results, each checked against its event: all right" in said
    assert "came more than once" not in said
    assert len(re.findall(r"was cluster \d+ of \S+, and nothing else", said)) == 2
    assert leftovers() == []


def test_every_part_is_killed_in_the_middle_and_nothing_is_lost(tmp_path: Path) -> None:
    said = real_demo(tmp_path, "--events", "1600", "--kills")
    for victim in ("schedd", "RabbitMQ", "PostgreSQL", "PgBouncer", "WMS", "MQS", "TMS north"):
        assert re.search(rf"killing .*{victim}", said), said
    assert "1600 results, each checked against its event: all right" in said
    assert len(re.findall(r"was cluster \d+ of \S+, and nothing else", said)) == 2
    assert leftovers() == []
