"""Events become files: none is overwritten, and no name leads out of the folder."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ewms_client.event_files import EventFolder, safe_name


@pytest.mark.parametrize("name", ["run-7.i3.zst", "a b.txt", "größe.dat"])
def test_a_plain_name_is_kept(name: str) -> None:
    assert safe_name(name, "event-1") == name


@pytest.mark.parametrize(
    "name",
    [
        "../up",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "..",
        ".",
        ".hidden",
        "-rf",
        "~root",
        "",
        "a\nb",
        "C:x",
        None,
    ],
)
def test_any_other_name_gives_way_to_the_events_id(name: str | None) -> None:
    assert safe_name(name, "event-1") == "event-1"


def test_an_events_id_that_is_no_plain_name_either_is_replaced() -> None:
    name = safe_name(None, "../../event")

    assert name != "../../event"
    assert "/" not in name


def test_events_of_the_same_name_go_into_files_of_their_own(tmp_path: Path) -> None:
    folder = EventFolder(tmp_path / "new")

    paths = [folder.store("out.txt", payload) for payload in (b"one", b"two", b"three")]

    assert [path.name for path in paths] == ["out.txt", "out.1.txt", "out.2.txt"]
    assert [path.read_bytes() for path in paths] == [b"one", b"two", b"three"]


def test_a_file_that_is_there_already_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "out.txt").write_bytes(b"precious")

    path = EventFolder(tmp_path).store("out.txt", b"new")

    assert path.name == "out.1.txt"
    assert (tmp_path / "out.txt").read_bytes() == b"precious"


def test_two_writers_in_one_folder_never_take_the_same_name(tmp_path: Path) -> None:
    folders = [EventFolder(tmp_path), EventFolder(tmp_path)]

    with ThreadPoolExecutor(2) as pool:
        payloads = [f"{number}".encode() for number in range(40)]
        jobs = [
            pool.submit(lambda f, ps: [f.store("x", p) for p in ps], folder, payloads[i::2])
            for i, folder in enumerate(folders)
        ]
        paths = [path for job in jobs for path in job.result()]

    assert len(set(paths)) == 40
    assert sorted(path.read_bytes() for path in paths) == sorted(payloads)


def test_nothing_half_written_is_left_behind(tmp_path: Path) -> None:
    EventFolder(tmp_path).store("out.txt", b"data")

    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]
