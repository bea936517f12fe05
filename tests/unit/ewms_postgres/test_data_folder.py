from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ewms_postgres.data_folder import DataFolderInUse, DataFolderTooNew, claim_data_folder

HOLD_UNTIL_STDIN_CLOSES = """
import sys
from pathlib import Path
from ewms_postgres.data_folder import claim_data_folder
with claim_data_folder(Path(sys.argv[1])):
    print("claimed", flush=True)
    sys.stdin.read()
"""


def hold(folder: Path) -> subprocess.Popen[str]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_UNTIL_STDIN_CLOSES, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "claimed\n"
    return holder


def test_a_new_folder_is_private_and_has_the_current_format(tmp_path: Path) -> None:
    with claim_data_folder(tmp_path / "a" / "data") as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / "format").read_text() == "1\n"


def test_a_second_stack_learns_who_has_the_folder(tmp_path: Path) -> None:
    with hold(tmp_path) as holder:
        with pytest.raises(DataFolderInUse) as refused, claim_data_folder(tmp_path):
            pass
        holder.communicate()
    assert refused.value.pid == holder.pid


def test_a_killed_stack_leaves_the_folder_free(tmp_path: Path) -> None:
    with hold(tmp_path) as holder:
        holder.kill()
        holder.wait()
    with claim_data_folder(tmp_path):
        assert (tmp_path / "ewms.lock").read_text() == f"{os.getpid()}\n"


def test_the_lock_of_this_very_process_counts_too(tmp_path: Path) -> None:
    with (
        claim_data_folder(tmp_path),
        pytest.raises(DataFolderInUse) as refused,
        claim_data_folder(tmp_path),
    ):
        pass
    assert refused.value.pid == os.getpid()


def test_an_older_format_is_brought_up_step_by_step(tmp_path: Path) -> None:
    (tmp_path / "format").write_text("1\n")
    taken: list[int] = []
    steps = {1: lambda _: taken.append(1), 2: lambda _: taken.append(2)}
    with claim_data_folder(tmp_path, steps=steps, current=3):
        assert taken == [1, 2]
        assert (tmp_path / "format").read_text() == "3\n"


def test_a_step_that_failed_runs_again_and_the_one_before_does_not(tmp_path: Path) -> None:
    (tmp_path / "format").write_text("1\n")
    taken: list[int] = []

    def fail_at_first(_: Path) -> None:
        taken.append(2)
        if taken.count(2) == 1:
            raise OSError

    steps = {1: lambda _: taken.append(1), 2: fail_at_first}
    with pytest.raises(OSError), claim_data_folder(tmp_path, steps=steps, current=3):  # noqa: PT011
        pass
    with claim_data_folder(tmp_path, steps=steps, current=3):
        assert taken == [1, 2, 2]


def test_a_newer_format_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "format").write_text("7\n")
    with pytest.raises(DataFolderTooNew) as refused, claim_data_folder(tmp_path):
        pass
    assert (refused.value.found, refused.value.known) == (7, 1)
    assert (tmp_path / "format").read_text() == "7\n"
