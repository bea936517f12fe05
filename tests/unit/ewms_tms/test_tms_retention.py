"""What is deleted of what is over, and what is not."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from ewms_tms import event_text
from ewms_tms.grid import TaskforceUuid
from ewms_tms.job_events import ClusterId
from ewms_tms.retention import expire
from ewms_tms.submission_notes import SubmissionNotes

LONG_AGO, THEN, RECENTLY = 1_000.0, 2_000.0, 3_000.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("logs", "taskforces"):
        (tmp_path / name).mkdir()
    return tmp_path


def add_log(folder: Path, name: str, clusters: list[int], changed: float) -> Path:
    path = folder / "logs" / f"{name}.tms.jel"
    for cluster in clusters:
        notes = SubmissionNotes(TaskforceUuid(f"TF-{cluster}"), 1, 1)
        event_text.append(str(path), event_text.cluster_submitted(cluster, "h", str(notes)))
    os.utime(path, (changed, changed))
    return path


def add_folder(folder: Path, cluster: int, changed: float) -> Path:
    path = folder / "taskforces" / f"TF-{cluster}" / str(cluster)
    path.mkdir(parents=True)
    file = path / "cluster.json"
    file.touch()
    os.utime(file, (changed, changed))
    os.utime(path, (changed, changed))
    return path


def test_what_is_over_for_long_goes_and_its_clusters_are_named(folder: Path) -> None:
    log = add_log(folder, "2026-01-01", [1, 2], LONG_AGO)
    cluster = add_folder(folder, 1, LONG_AGO)
    assert expire(folder, lambda _: True, THEN) == {1, 2}
    assert not log.exists()
    assert not cluster.parent.exists()


def test_a_log_stays_while_one_of_its_clusters_is_not_over(folder: Path) -> None:
    log = add_log(folder, "2026-01-01", [1, 2], LONG_AGO)
    over, living = add_folder(folder, 1, LONG_AGO), add_folder(folder, 2, LONG_AGO)

    def is_over(cluster: ClusterId) -> bool:
        return cluster == 1

    assert expire(folder, is_over, THEN) == set()
    assert log.exists()
    assert living.exists()
    assert not over.exists()


def test_what_has_changed_since_stays(folder: Path) -> None:
    log = add_log(folder, "2026-01-01", [1], RECENTLY)
    cluster = add_folder(folder, 1, RECENTLY)
    assert expire(folder, lambda _: True, THEN) == set()
    assert log.exists()
    assert cluster.exists()


def test_what_is_no_clusters_folder_is_left_alone(folder: Path) -> None:
    note = folder / "taskforces" / "TF-1" / "README"
    note.parent.mkdir()
    note.touch()
    assert expire(folder, lambda _: True, THEN) == set()
    assert note.exists()


def test_an_attempts_folder_stays_while_its_taskforce_is_in_use(folder: Path) -> None:
    attempt = folder / "taskforces" / "TF-1" / "attempt-2"
    attempt.mkdir(parents=True)
    os.utime(attempt, (LONG_AGO, LONG_AGO))
    expire(folder, lambda _: True, THEN, lambda taskforce: taskforce != "TF-1")
    assert attempt.exists()
    expire(folder, lambda _: True, THEN, lambda taskforce: taskforce == "TF-1")
    assert not attempt.parent.exists()


def test_what_goes_is_in_the_archive_before_but_for_secrets(folder: Path, tmp_path: Path) -> None:
    log = add_log(folder, "2026-01-01", [1], LONG_AGO)
    cluster = add_folder(folder, 1, LONG_AGO)
    (cluster / "ewms-pilot-env.json").write_text("secret")
    for path in (cluster / "ewms-pilot-env.json", cluster):
        os.utime(path, (LONG_AGO, LONG_AGO))
    archive = tmp_path / "archive"
    expire(folder, lambda _: True, THEN, archive=archive)
    assert not log.exists()
    assert not cluster.exists()
    assert {path.name for path in archive.iterdir()} == {
        "TF-1.1.tar.gz", "2026-01-01.tms.jel.tar.gz",
    }  # fmt: skip
    with tarfile.open(archive / "TF-1.1.tar.gz") as tar:
        assert tar.getnames() == ["TF-1.1", "TF-1.1/cluster.json"]


def test_nothing_is_deleted_that_the_archive_did_not_take(folder: Path, tmp_path: Path) -> None:
    cluster = add_folder(folder, 1, LONG_AGO)
    (tmp_path / "archive").touch()
    with pytest.raises(OSError, match="archive"):
        expire(folder, lambda _: True, THEN, archive=tmp_path / "archive")
    assert cluster.exists()
