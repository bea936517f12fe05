"""Under which account the embedded server runs, and what that account must be able to reach.

PostgreSQL refuses to run as root. Started by root it runs as the owner of its data, or, for new
data, as a system account of its own. That account is let through the folders above (search
permission only, nothing becomes listable) and never gets write access to anything but its data.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

import structlog

__all__ = ["ServerAccount", "ServerAccountError", "let_through", "make_readable", "server_account"]

_NAME = "ewms-postgres"
_USERADD_DEADLINE = 30.0
_log = structlog.get_logger(__name__)


class ServerAccountError(Exception):
    """No account can run the server on this data; the message says why."""


@dataclass(frozen=True)
class ServerAccount:
    """Numbers of the account that runs the server and owns its data."""

    uid: int
    gid: int

    @property
    def is_ours(self) -> bool:
        """Whether it is the account of this very process."""
        return self.uid == os.geteuid()


def server_account(pgdata: Path) -> ServerAccount:
    """Return the account for the server of `pgdata`, which need not exist yet.

    Raises ServerAccountError when the data belong to somebody else, or when root has no tool to
    create the system account.
    """
    owner = pgdata.stat() if pgdata.exists() else None
    if os.geteuid() != 0:
        if owner is not None and owner.st_uid != os.geteuid():
            raise ServerAccountError(
                f"{pgdata} belongs to user {owner.st_uid}; start as that user, or as root"
            )
        return ServerAccount(os.geteuid(), os.getegid())
    if owner is not None and owner.st_uid != 0:
        return ServerAccount(owner.st_uid, owner.st_gid)
    entry = _system_account()
    return ServerAccount(entry.pw_uid, entry.pw_gid)


def _system_account() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(_NAME)
    except KeyError:
        pass
    useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if useradd is None:
        raise ServerAccountError(
            f"PostgreSQL does not run as root, and there is no useradd to create {_NAME!r};"
            " start as another user"
        )
    command = [useradd, "--system", "--user-group", "--no-create-home"]
    done = subprocess.run(
        [*command, "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", _NAME],
        check=False,
        capture_output=True,
        text=True,
        timeout=_USERADD_DEADLINE,
    )
    try:
        # Another process may have created it meanwhile, so the exit code alone says nothing.
        return pwd.getpwnam(_NAME)
    except KeyError:
        raise ServerAccountError(
            f"cannot create the account {_NAME!r}: {done.stderr.strip()}"
        ) from None


def let_through(account: ServerAccount, path: Path) -> None:
    """Give others search permission on the folders above `path` that lack it, as root."""
    if account.is_ours:
        return
    for folder in path.resolve().parents:
        status = folder.stat()
        if status.st_uid != account.uid and not status.st_mode & stat.S_IXOTH:
            folder.chmod(stat.S_IMODE(status.st_mode) | stat.S_IXOTH)
            _log.warning("folder opened for passing through", folder=str(folder))


def make_readable(account: ServerAccount, folder: Path) -> None:
    """Make the programs or libraries of a folder readable that a strict umask closed, as root."""
    if account.is_ours:
        return
    let_through(account, folder)
    for path in (folder, *folder.rglob("*")):
        if path.is_symlink():
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        search = stat.S_IXGRP | stat.S_IXOTH if mode & stat.S_IXUSR else 0
        wanted = mode | stat.S_IRGRP | stat.S_IROTH | search
        if wanted != mode:
            path.chmod(wanted)
