from __future__ import annotations

import os
from pathlib import Path

import pytest

from ewms_postgres.server_account import (
    ServerAccount,
    ServerAccountError,
    let_through,
    make_readable,
    server_account,
)

SOMEBODY = ServerAccount(65534, 65534)

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes accounts")


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_folders_above_are_opened_for_passing_and_for_nothing_else(tmp_path: Path) -> None:
    data = tmp_path / "closed" / "shared" / "data"
    data.mkdir(parents=True)
    for folder in (data, data.parent, data.parent.parent):
        folder.chmod(0o700)
    data.parent.chmod(0o755)
    let_through(SOMEBODY, data)
    assert [mode(folder) for folder in (data, *data.parents[:2])] == [0o700, 0o755, 0o701]


def test_nothing_is_opened_for_a_server_of_our_own_account(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    let_through(ServerAccount(os.geteuid(), os.getegid()), tmp_path / "data")
    assert mode(tmp_path) == 0o700


def test_an_installation_made_under_a_strict_umask_becomes_readable(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "postgres"
    library = tmp_path / "lib" / "libpq.so"
    for file, strict in ((program, 0o700), (library, 0o600)):
        file.parent.mkdir(mode=0o700)
        file.touch()
        file.chmod(strict)
    make_readable(SOMEBODY, tmp_path)
    assert [mode(path) for path in (program, library, library.parent)] == [0o755, 0o644, 0o755]


@only_root
def test_root_runs_a_server_as_the_owner_of_its_data(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    os.chown(data, SOMEBODY.uid, SOMEBODY.gid)
    assert server_account(data) == SOMEBODY


def test_data_of_somebody_else_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(ServerAccountError, match="belongs to user"):
        server_account(tmp_path)
