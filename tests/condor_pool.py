"""The real HTCondor pool that tests may use, if one runs here: `make condor` makes one.

`eval "$(scripts/condor-pool.sh env)"` names another one than that of this machine. Its jobs belong
to one account, so tests that submit are that account for as long as they last; run by root, they
become it.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import pwd
import re
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

__all__ = ["RealPool", "real_pool"]

_HOME = Path(os.environ.get("EWMS_POOL_HOME", "/opt/ewms-htcondor"))
_PORT = 9618
_CAP_DAC_READ_SEARCH = 2
_CAP_VERSION_3 = 0x20080522
_PR_CAP_AMBIENT, _RAISE, _CLEAR_ALL = 47, 2, 4

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class RealPool:
    """A pool that runs.

    `place` is a folder of the test's own, at the same path for the TMS, schedd and workers, and
    `tokens` one in it with the account's token.
    """

    config: Path
    schedd: str
    account: str
    place: Path
    tokens: Path

    def taskforce(self, number: int = 0) -> str:
        """A taskforce's id that no other test has: all of them are in one queue."""
        return f"TF-{self.place.name}-{number}"

    @property
    def environment(self) -> dict[str, str]:
        """What a client's environment has."""
        return {
            "CONDOR_CONFIG": str(self.config),
            "_CONDOR_SEC_TOKEN_DIRECTORY": str(self.tokens),
        }

    def script(self, name: str, text: str) -> Path:
        """A shell script that workers can run."""
        path = self.place / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        if os.getuid() == 0:
            shutil.chown(path, self.account)
        return path

    @property
    def command_prefix(self) -> list[str]:
        """What a command begins with to run as the account.

        It may still read and search, so that a Python in root's own folder is found.
        """
        if os.getuid() != 0:
            return []
        return [
            "setpriv", "--reuid", self.account, "--regid", self.account, "--clear-groups",
            "--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search",
        ]  # fmt: skip

    @contextmanager
    def as_account(self) -> Iterator[None]:
        """Be the account, this process's children too."""
        if os.getuid() != 0:
            yield
            return
        who, groups = pwd.getpwnam(self.account), os.getgroups()
        os.setgroups([])
        os.setresgid(who.pw_gid, who.pw_gid, 0)
        os.setresuid(who.pw_uid, who.pw_uid, 0)
        try:
            _keep_reading()
            yield
        finally:
            _libc.prctl(_PR_CAP_AMBIENT, _CLEAR_ALL, 0, 0, 0)
            os.setresuid(0, 0, 0)
            os.setresgid(0, 0, 0)
            os.setgroups(groups)


@contextmanager
def real_pool() -> Iterator[RealPool]:
    """The pool with a folder of one's own in it; skips the test where there is none."""
    config = Path(os.environ.get("CONDOR_CONFIG", _HOME / "client.conf"))
    work = Path(os.environ.get("EWMS_POOL_WORK", _HOME / "work"))
    if not _answers(config):
        pytest.skip("no HTCondor pool runs here (make condor)")
    # Not imported here: the bindings belong into the helper alone, and change the environment.
    if importlib.util.find_spec("htcondor2") is None:
        pytest.skip("no HTCondor bindings (pip install htcondor)")
    account = os.environ.get("EWMS_POOL_ACCOUNT", "ewms")
    if os.getuid() not in (0, pwd.getpwnam(account).pw_uid):
        pytest.skip(f"the pool's jobs belong to {account}, and this is somebody else")
    place = Path(tempfile.mkdtemp(prefix="test-", dir=work))
    try:
        tokens = place / "tokens"
        shutil.copytree(_tokens(config), tokens)
        if os.getuid() == 0:
            for path in (place, tokens, *tokens.iterdir()):
                shutil.chown(path, account, account)
        # Jobs pass through to what a test leaves there for them.
        place.chmod(stat.S_IRWXU | stat.S_IXGRP | stat.S_IXOTH)
        schedd = os.environ.get("EWMS_POOL_SCHEDD", "ewms-schedd@localhost")
        yield RealPool(config, schedd, account, place, tokens)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _answers(config: Path) -> bool:
    try:
        host = re.search(r"^COLLECTOR_HOST\s*=\s*(\S+)", config.read_text(), re.MULTILINE)
        name, _, port = (host[1] if host else "127.0.0.1").partition(":")
        with socket.create_connection((name, int(port or _PORT)), timeout=2):
            return True
    except OSError:
        return False


def _tokens(config: Path) -> Path:
    found = re.search(r"^SEC_TOKEN_DIRECTORY\s*=\s*(\S+)", config.read_text(), re.MULTILINE)
    return Path(found[1] if found else _HOME / "tokens")


def _keep_reading() -> None:
    """Keep the right to read and search everywhere, and hand it down to children."""
    header = (ctypes.c_uint32 * 2)(_CAP_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)()
    if _libc.capget(header, data):
        raise OSError(ctypes.get_errno(), "capget")
    data[0] |= 1 << _CAP_DAC_READ_SEARCH  # effective
    data[2] |= 1 << _CAP_DAC_READ_SEARCH  # inheritable
    if _libc.capset(header, data):
        raise OSError(ctypes.get_errno(), "capset")
    if _libc.prctl(_PR_CAP_AMBIENT, _RAISE, _CAP_DAC_READ_SEARCH, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
