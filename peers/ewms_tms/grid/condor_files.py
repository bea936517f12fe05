"""Files of taskforces on their way to HTCondor and back: which may travel, and where ours are.

All jobs of a TMS have one owner on the pool, who can read every taskforce's files. So guarantees
that a path is taken only from below the roots that the operator names, every link resolved, in a
folder's depth too. URLs are for the workers to fetch. Blocking, but for `CondorTransfer`.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from ewms_tms.durable_files import sync_folder, write_whole
from ewms_tms.grid import GridUnavailable, Refused, Submission, TaskforceUuid
from ewms_tms.grid.condor_description import ENV_FILE
from ewms_tms.grid.staging import LocalTransfer, local_path

__all__ = ["CondorTransfer", "TaskforceFiles", "allowed_path", "job_input"]

# HTCondor fetches these on the worker, by plugins that its machines have.
_URL_SCHEMES = frozenset(
    ("http", "https", "ftp", "osdf", "stash", "pelican", "s3", "gs", "davs", "root", "xroot")
)
_MOST_ENTRIES = 100_000


def job_input(source: str, roots: Sequence[Path]) -> str:
    """An input file as HTCondor is told of it: a URL as it is, a path without links.

    Raises
    ------
    Refused
        Neither a URL of a kind that workers fetch, nor below a root.
    """
    scheme = urlsplit(source).scheme.lower()
    if scheme in _URL_SCHEMES:
        return source
    path = allowed_path(source, roots)
    if path.name == ENV_FILE:
        raise Refused(f"{source}: this name is the pilot's own")
    return str(path)


def allowed_path(source: str, roots: Sequence[Path]) -> Path:
    """The path that a source stands for, without links, if it may be read. Raises Refused."""
    try:
        path = local_path(source).resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise Refused(f"{source}: {getattr(error, 'strerror', None) or error}") from error
    real_roots = [root.resolve() for root in roots]
    if not any(path.is_relative_to(root) for root in real_roots):
        raise Refused(f"{source}: not below a folder that input files may come from")
    if path.is_dir():
        _check_links(source, path, real_roots)
    return path


def _check_links(source: str, folder: Path, roots: Sequence[Path]) -> None:
    n_entries = 0
    for parent, folders, files in os.walk(folder):
        n_entries += len(folders) + len(files)
        if n_entries > _MOST_ENTRIES:
            raise Refused(f"{source}: more than {_MOST_ENTRIES} files; send an archive instead")
        for name in (*folders, *files):
            path = Path(parent, name)
            if path.is_symlink() and not any(path.resolve().is_relative_to(r) for r in roots):
                raise Refused(f"{source}: {name} in it is a link that leads out")


class TaskforceFiles:
    """The folders of a schedd's taskforces, one for each attempt.

    Parameters
    ----------
    folder
        The schedd's; `logs` and `taskforces` are made in it.
    """

    def __init__(self, folder: Path) -> None:
        self.logs = folder / "logs"
        self._taskforces = folder / "taskforces"
        for path in (self.logs, self._taskforces):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)

    def of(self, taskforce: TaskforceUuid, attempt: int) -> Path:
        """An attempt's folder."""
        return self._taskforces / taskforce / f"attempt-{attempt}"

    def prepare(self, submission: Submission) -> Path:
        """Make an attempt's folder with the pilot's secrets in it, for their owner alone.

        Raises
        ------
        GridUnavailable
            The disk does not take it.
        """
        folder = self.of(submission.taskforce, submission.attempt)
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            secrets = json.dumps(dict(submission.environment)).encode()
            write_whole(folder / ENV_FILE, secrets, mode=0o600)
            for parent in (folder.parent, self._taskforces):
                sync_folder(parent)
        except OSError as error:
            raise GridUnavailable(f"the TMS's disk failed: {error}") from error
        return folder

    def forget(self, taskforce: TaskforceUuid, attempt: int) -> None:
        """Nothing was submitted: nothing of the attempt is needed."""
        folder = self.of(taskforce, attempt)
        shutil.rmtree(folder, ignore_errors=True)
        if folder.parent.is_dir() and not any(folder.parent.iterdir()):
            folder.parent.rmdir()

    def remove_secrets(self, taskforce: TaskforceUuid, attempt: int) -> None:
        """The cluster is over; its output may stay."""
        (self.of(taskforce, attempt) / ENV_FILE).unlink(missing_ok=True)


class CondorTransfer:
    """Moves files on the schedd's machine, from below the roots. Workers' own are HTCondor's."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self._roots, self._local = tuple(roots), LocalTransfer()

    async def stage_in(self, sources: Sequence[str], folder: Path) -> None:
        """Bring files and folders from below the roots into a folder."""
        paths = await asyncio.to_thread(
            lambda: [str(allowed_path(source, self._roots)) for source in sources]
        )
        await self._local.stage_in(paths, folder)

    async def stage_out(self, folder: Path, names: Sequence[str], destination: str) -> None:
        """Bring files of a folder to a folder below the roots."""
        target = local_path(destination)
        parent = str(target if target.exists() else target.parent)
        await asyncio.to_thread(allowed_path, parent, self._roots)
        await self._local.stage_out(folder, names, destination)
