"""An unpacked pilot's environment is as if nothing had been unpacked."""

from __future__ import annotations

from ewms_pilot.one_file import forget_unpacking


def test_what_was_set_for_unpacking_is_forgotten() -> None:
    environ = {"PATH": "/bin", "LD_LIBRARY_PATH": "/tmp/_MEI1", "_PYI_ARCHIVE_FILE": "/pilot"}
    forget_unpacking(environ)
    assert environ == {"PATH": "/bin"}


def test_the_workers_own_library_path_comes_back() -> None:
    environ = {"LD_LIBRARY_PATH": "/tmp/_MEI1:/site", "LD_LIBRARY_PATH_ORIG": "/site"}
    forget_unpacking(environ)
    assert environ == {"LD_LIBRARY_PATH": "/site"}
