"""A PostgreSQL and a PgBouncer of a test's own, as an operator would have them.

They are made by `scripts/postgres.sh`, on free ports and in a folder of their own, so that a test
may restart them without disturbing anybody.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "postgres.sh"


def why_not() -> str:
    """What this machine lacks; empty if nothing."""
    if not list(Path("/usr/lib/postgresql").glob("*/bin/postgres")):
        return "Debian's postgresql is not installed (scripts/postgres.sh install)"
    if shutil.which("pgbouncer") is None:
        return "pgbouncer is not installed (scripts/postgres.sh install)"
    return ""


@dataclass(frozen=True)
class OutsidePostgres:
    """A running server; made by `started`, to be removed in the end."""

    folder: Path
    port: int
    pooler_port: int

    @classmethod
    def started(cls) -> OutsidePostgres:
        """Make one and start it."""
        # Not below pytest's folders: the server's account could not reach those.
        folder = Path(tempfile.mkdtemp(prefix="ewms-outside-"))
        folder.chmod(0o755)
        server = cls(folder, _free_port(), _free_port())
        server.run("start")
        return server

    def run(self, *command: str) -> str:
        """Run a command of the script and return what it prints."""
        ports = {
            "EWMS_PG_PORT": str(self.port),
            "EWMS_PG_POOLER_PORT": str(self.pooler_port),
        }
        done = subprocess.run(
            [str(SCRIPT), *command],
            env={**os.environ, "EWMS_PG_HOME": str(self.folder / "pg"), **ports},
            # To files and not to pipes, which a server that it starts would keep open.
            stdout=(self.folder / "stdout").open("w"),
            stderr=(self.folder / "stderr").open("w"),
            stdin=subprocess.DEVNULL,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, (self.folder / "stderr").read_text()
        return (self.folder / "stdout").read_text()

    @property
    def pooler_log(self) -> str:
        """What PgBouncer has said."""
        return (self.folder / "pg" / "pgbouncer" / "log").read_text()

    def require_pooler(self) -> None:
        """Fail, with its last words, if PgBouncer has died by itself."""
        try:
            self.run("status")
        except AssertionError:
            last = "\n".join(self.pooler_log.splitlines()[-20:])
            self.run("start")
            raise AssertionError(f"PgBouncer or PostgreSQL died by itself:\n{last}") from None

    def remove(self) -> None:
        """Stop it and delete its files."""
        self.run("remove")
        shutil.rmtree(self.folder)

    def settings(self, database: str, *, pooled: bool = False) -> dict[str, str]:
        """The environment for the servers on one of its databases."""
        lines = self.run("env-pooled" if pooled else "env", database).splitlines()
        words = (shlex.split(line)[1].partition("=") for line in lines)
        return {name: value for name, _, value in words}

    def password(self, role: str) -> str:
        """A role's password."""
        return (self.folder / "pg" / "pgbouncer" / role).read_text().strip()

    @property
    def ca(self) -> Path:
        """The CA of the server's certificate, as a PEM file."""
        return self.folder / "pg" / "tls" / "ca.pem"


def with_parts(url: str, *, password: str | None = None, query: str | None = None) -> str:
    """The URL with a password, or with another query."""
    parts = urlsplit(url)
    if password is not None:
        parts = parts._replace(netloc=parts.netloc.replace("@", f":{password}@"))
    if query is not None:
        parts = parts._replace(query=query)
    return urlunsplit(parts)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
