"""The pilot as one executable file does what the installed one does, on a worker with nothing.

`EWMS_TEST_PILOT` names a file that was made already (`make pilot`); otherwise one is made here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pilot_pool import Gate, Pool, children_of, until_dead

_ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def one_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if made := os.environ.get("EWMS_TEST_PILOT"):
        return Path(made).resolve()
    pytest.importorskip("PyInstaller", reason="PyInstaller is not installed: no one-file pilot")
    target = tmp_path_factory.mktemp("one-file") / "ewms-pilot"
    subprocess.run(
        [sys.executable, str(_ROOT / "scripts" / "build_pilot.py"), str(target)], check=True
    )
    return target


@pytest.fixture
def one_file_pool(pool: Pool, one_file: Path) -> Pool:
    pool.program = (str(one_file),)
    return pool


async def test_one_file_works_on_events_and_leaves_nothing_behind(one_file_pool: Pool) -> None:
    pool = one_file_pool
    await pool.server.put("in", b"one", b"two")
    await pool.server.close_queue("in")
    pilot = await pool.start("cp {{INFILE}} {{OUTFILE}}")
    assert await pilot.ended(60) == 0
    assert sorted(e.payload for e in pool.server.queue("out").published) == [b"one", b"two"]
    assert list(pilot.scratch.iterdir()) == []


async def test_a_task_of_one_file_sees_the_workers_libraries_and_not_the_pilots(
    one_file_pool: Pool,
) -> None:
    pool = one_file_pool
    await pool.server.put("in", b"x")
    await pool.server.close_queue("in")
    pilot = await pool.start("""sh -c 'env > "$1"' sh {{OUTFILE}}""")
    assert await pilot.ended(60) == 0
    names = {
        line.partition("=")[0]
        for line in pool.server.queue("out").published[0].payload.decode().splitlines()
    }
    assert "EWMS_TASK_OUTFILE" in names
    assert not {name for name in names if name.startswith(("LD_", "_PYI", "EWMS_PILOT"))}


async def test_one_file_ends_with_143_after_sigterm(one_file_pool: Pool, gate: Gate) -> None:
    pool = one_file_pool
    await pool.server.put("in", b"x")
    pilot = await pool.start(gate.command())
    os.close(await gate.reached())
    pilot.process.terminate()
    assert await pilot.ended() == 143
    assert list(pilot.scratch.iterdir()) == []


async def test_the_pilot_of_one_file_dies_with_its_starter(one_file_pool: Pool, gate: Gate) -> None:
    pool = one_file_pool
    await pool.server.put("in", b"x")
    pilot = await pool.start(gate.command())
    end = await gate.reached()
    unpacked = children_of(pilot.process.pid)
    assert unpacked
    pilot.kill()
    for process in unpacked:
        await until_dead(process)
    os.close(end)


def test_one_file_starts_in_a_root_without_python(one_file: Path, tmp_path: Path) -> None:
    chroot = shutil.which("chroot")
    if os.geteuid() != 0 or chroot is None:
        pytest.skip("only root can enter another root file system")
    # Nothing is in there but the C library.
    libraries = subprocess.run(["ldd", one_file], check=True, capture_output=True, text=True)
    needed = [word for word in libraries.stdout.split() if word.startswith("/")]
    needed += [
        str(found) for name in ("libm.so.6", "librt.so.1", "libutil.so.1")
        for found in Path("/lib/x86_64-linux-gnu").glob(name)
    ]  # fmt: skip
    for library in needed:
        inside = tmp_path / library.lstrip("/")
        inside.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, inside)
    (tmp_path / "tmp").mkdir()
    shutil.copy(one_file, tmp_path / "ewms-pilot")
    said = subprocess.run(
        [chroot, str(tmp_path), "/ewms-pilot", "--version"],
        env={"TMPDIR": "/tmp"}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert said.stdout.startswith("ewms-pilot ")
    assert list((tmp_path / "tmp").iterdir()) == []
