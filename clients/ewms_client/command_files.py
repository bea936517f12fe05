"""Files and folders that are named on the command line. What is wrong with one is said in a line of
its own, before anything is sent wherever that can be known, and is a wrong use of the command.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ewms_client.errors import ClientError
from ewms_client.event_files import EventFolder

__all__ = ["UnusablePath", "event_folder", "read_document", "read_file", "require_files"]


class UnusablePath(ClientError):
    """A path that was given cannot be read, or written to."""


def read_document(file: str) -> bytes:
    """A file's contents; `-` is standard input. UnusablePath."""
    return sys.stdin.buffer.read() if file == "-" else read_file(Path(file))


def read_file(path: Path) -> bytes:
    """A file's contents. UnusablePath."""
    with _said_plainly(f"cannot read {path}"):
        return path.read_bytes()


def require_files(paths: Iterable[Path]) -> None:
    """Return if each is a file that can be read. UnusablePath names the first that is none."""
    for path in paths:
        with _said_plainly(f"cannot read {path}"):
            path.stat()
            if not path.is_file():
                raise UnusablePath(f"cannot read {path}: not a file")
            path.open("rb").close()


def event_folder(path: Path) -> EventFolder:
    """The folder for events' files, made if it is not there. UnusablePath."""
    with _said_plainly(f"cannot write into {path}"):
        folder = EventFolder(path)
        if not os.access(path, os.W_OK | os.X_OK):
            raise UnusablePath(f"cannot write into {path}: permission denied")
        return folder


@contextmanager
def _said_plainly(what: str) -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        raise UnusablePath(f"{what}: not a directory") from None
    except OSError as error:
        raise UnusablePath(f"{what}: {(error.strerror or str(error)).lower()}") from None
