"""Moves files between folders of this machine: the local adapter's DataTransfer.

Sources and destinations are paths or `file:` URLs. Guarantees that a file that was brought is
whole. Must never move what is of another kind: that is refused, in words.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ewms_tms.grid import GridUnavailable, Refused

__all__ = ["LocalTransfer", "local_path"]


class LocalTransfer:
    """Copies, in a thread."""

    async def stage_in(self, sources: Sequence[str], folder: Path) -> None:
        """Bring files and folders into a folder, each under its last name."""
        paths = [local_path(source) for source in sources]
        names = [path.name for path in paths]
        if len(set(names)) != len(names):
            raise Refused("two input files have the same name")
        await asyncio.to_thread(_copy_all, paths, folder)

    async def stage_out(self, folder: Path, names: Sequence[str], destination: str) -> None:
        """Bring files of a folder into another one."""
        paths = [folder / name for name in names]
        await asyncio.to_thread(_copy_all, paths, local_path(destination))


def local_path(source: str) -> Path:
    """The absolute path that a path or `file:` URL stands for.

    Raises
    ------
    Refused
        A relative path, or a URL of another scheme or host.
    """
    parts = urlsplit(source)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        path = Path(unquote(parts.path))
    elif not parts.scheme:
        path = Path(source)
    else:
        raise Refused(f"{source}: only paths and file: URLs can be moved here")
    if not path.is_absolute() or not path.name:
        raise Refused(f"{source}: the path must be absolute and name a file or folder")
    return path


def _copy_all(paths: Sequence[Path], folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in paths:
            if path.is_dir():
                shutil.copytree(path, folder / path.name, dirs_exist_ok=True)
            else:
                part = folder / f".{path.name}.part"
                shutil.copy2(path, part)
                part.replace(folder / path.name)
    except (FileNotFoundError, PermissionError) as error:
        raise Refused(f"{error.filename}: {error.strerror}") from error
    except OSError as error:
        raise GridUnavailable(f"files could not be moved: {error}") from error
