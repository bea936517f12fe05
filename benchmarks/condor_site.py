"""The HTCondor pool that a row may be measured on: the one that `make condor` starts, or another.

`eval "$(scripts/condor-pool.sh env)"` names another one than that of this machine. Programs that
submit run as the pool's account, each in a folder of its own that the pool's daemons see.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CondorSite", "NoPool", "condor_site"]

_HOME = Path(os.environ.get("EWMS_POOL_HOME", "/opt/ewms-htcondor"))


class NoPool(Exception):
    """There is no pool to measure on; says what is missing."""


@dataclass(frozen=True, slots=True)
class CondorSite:
    """A schedd of a pool, and a folder for one who submits to it, with a token in it."""

    config: Path
    schedd: str
    account: str
    folder: Path

    @property
    def tokens(self) -> Path:
        """The folder of the account's token."""
        return self.folder / "tokens"

    def command(self, *words: str) -> tuple[str, ...]:
        """A command as the account; it may read everywhere, so that a Python of root's is found."""
        environment = (
            "env", f"CONDOR_CONFIG={self.config}", f"_CONDOR_SEC_TOKEN_DIRECTORY={self.tokens}",
            "PYTHONDONTWRITEBYTECODE=1",
        )  # fmt: skip
        if os.getuid() != 0:
            return (*environment, *words)
        return (
            "setpriv", "--reuid", self.account, "--regid", self.account, "--clear-groups",
            "--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search",
            *environment, *words,
        )  # fmt: skip


@contextmanager
def condor_site() -> Iterator[CondorSite]:
    """Use the pool. Raises NoPool."""
    config = Path(os.environ.get("CONDOR_CONFIG", _HOME / "client.conf"))
    work = Path(os.environ.get("EWMS_POOL_WORK", _HOME / "work"))
    account = os.environ.get("EWMS_POOL_ACCOUNT", "ewms")
    if not config.is_file() or not work.is_dir():
        raise NoPool("no HTCondor pool is here: make condor")
    found = re.search(r"^SEC_TOKEN_DIRECTORY\s*=\s*(\S+)", config.read_text(), re.MULTILINE)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=work))
    site = CondorSite(
        config, os.environ.get("EWMS_POOL_SCHEDD", "ewms-schedd@localhost"), account, folder
    )
    try:
        shutil.copytree(found[1] if found else _HOME / "tokens", site.tokens)
        if os.getuid() == 0:
            group = pwd.getpwnam(account).pw_gid
            for path in (folder, site.tokens, *site.tokens.iterdir()):
                os.chown(path, pwd.getpwnam(account).pw_uid, group)
        yield site
    finally:
        shutil.rmtree(folder, ignore_errors=True)
