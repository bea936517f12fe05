"""Which input files may travel to HTCondor's workers."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from ewms_tms.grid import Refused, Submission, TaskforceUuid, WorkerLimits
from ewms_tms.grid.condor_description import ENV_FILE
from ewms_tms.grid.condor_files import TaskforceFiles, job_input

TASKFORCE = TaskforceUuid("TF-1")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "inputs"
    (root / "folder").mkdir(parents=True)
    (root / "a.txt").touch()
    (tmp_path / "secret").touch()
    return root


def test_urls_travel_as_they_are() -> None:
    for url in ("https://example.org/a", "osdf:///a/b", "S3://bucket/x"):
        assert job_input(url, ()) == url


def test_paths_travel_from_below_a_root_with_their_links_resolved(root: Path) -> None:
    (root / "link").symlink_to("a.txt")
    expected = str((root / "a.txt").resolve())
    for source in (str(root / "a.txt"), f"file://{root}/a.txt", str(root / "link")):
        assert job_input(source, [root]) == expected
    assert job_input(str(root / "folder" / ".." / "a.txt"), [root]) == expected


def test_what_lies_elsewhere_is_refused_however_it_is_named(root: Path) -> None:
    secret = root.parent / "secret"
    (root / "link").symlink_to(secret)
    (root / "folder" / "deep").symlink_to(secret)
    (root / "up").symlink_to("..")
    sources = [
        str(secret), f"{root}/../secret", str(root / "link"), str(root / "folder"),
        f"{root}/up/secret", f"file://{secret}", f"{root}2",
    ]  # fmt: skip
    for source in sources:
        with pytest.raises(Refused):
            job_input(source, [root])
    with pytest.raises(Refused):
        job_input(str(root / "a.txt"), ())


@pytest.mark.parametrize("source", ["a.txt", "gopher://h/a", "data:,x", "/no/such/file", ""])
def test_what_is_no_file_and_no_url_that_workers_fetch_is_refused(root: Path, source: str) -> None:
    with pytest.raises(Refused):
        job_input(source, [Path("/")])


def test_no_input_file_takes_the_place_of_the_pilots_own(root: Path) -> None:
    (root / ENV_FILE).touch()
    with pytest.raises(Refused):
        job_input(str(root / ENV_FILE), [root])


def test_secrets_are_for_their_owner_alone_and_go_when_the_cluster_is_over(tmp_path: Path) -> None:
    files = TaskforceFiles(tmp_path)
    limits = WorkerLimits(1, 1, 1, 1, 1)
    submission = Submission(TASKFORCE, 3, 1, limits, False, (), {}, {"A": "secret"})
    folder = files.prepare(submission)
    path = folder / ENV_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert json.loads(path.read_text()) == {"A": "secret"}
    files.remove_secrets(TASKFORCE, 3)
    files.remove_secrets(TASKFORCE, 3)
    assert folder.is_dir()
    assert not path.exists()
    files.forget(TASKFORCE, 3)
    assert not folder.parent.exists()
