"""A RabbitMQ node for tests, by `scripts/rabbitmq.sh`: started, stopped, killed, and shared out.

Each test has a virtual host of its own. The node fetches public keys from one port, so that one
MQS at a time serves them.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["RabbitNode", "is_installed", "running_node"]

_SCRIPT = Path(__file__).parent.parent / "scripts" / "rabbitmq.sh"
_N_PORTS = 5


def is_installed() -> bool:
    """Whether Debian's package is there."""
    return Path("/usr/lib/rabbitmq/bin/rabbitmq-server").exists()


@dataclass(frozen=True)
class RabbitNode:
    """The node in a folder; `port` is the first of its ports."""

    folder: Path
    port: int

    def settings(self, vhost: str) -> dict[str, object]:
        """Settings of an MQS that uses it."""
        return {
            "broker": "rabbitmq",
            "rabbitmq_address": f"127.0.0.1:{self.port}",
            "rabbitmq_management": f"http://127.0.0.1:{self.port + 1}",
            "rabbitmq_vhost": vhost,
            "rabbitmq_password_file": self.folder / "password",
            "jwks": f"127.0.0.1:{self.port + 4}",
            "jwks_ca": self.folder / "ca",
        }

    def environment(self, vhost: str) -> dict[str, str]:
        """The same for an MQS that is a process of its own."""
        return {f"EWMS_MQS_{key.upper()}": str(v) for key, v in self.settings(vhost).items()}

    @property
    def password(self) -> str:
        """The MQS's own password."""
        return (self.folder / "password").read_text().strip()

    def start(self) -> None:
        """Start it; it answers when this returns."""
        self._run("start")

    def stop(self) -> None:
        """Stop it in order."""
        self._run("stop")

    def kill(self) -> None:
        """End it at once, as a power cut does."""
        os.kill(int((self.folder / "pid").read_text()), signal.SIGKILL)
        self._run("stop")

    def ctl(self, *arguments: str) -> None:
        """Have `rabbitmqctl` do something to it."""
        self._run("ctl", *arguments)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Call its management API."""
        secret = base64.b64encode(f"ewms-mqs:{self.password}".encode()).decode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port + 1}/api/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Basic {secret}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    @contextmanager
    def vhost(self) -> Iterator[str]:
        """A new virtual host, for as long as the block runs."""
        name = f"test-{uuid.uuid4().hex[:12]}"
        self.ask("PUT", f"vhosts/{name}", {})
        try:
            yield name
        finally:
            self.ask("DELETE", f"vhosts/{name}")

    def _run(self, *command: str) -> None:
        environment = os.environ | {
            "EWMS_RABBITMQ_FOLDER": str(self.folder),
            "EWMS_RABBITMQ_PORT": str(self.port),
            "PYTHON": sys.executable,
        }
        subprocess.run(["sh", str(_SCRIPT), *command], env=environment, check=True)


@contextmanager
def running_node(folder: Path) -> Iterator[RabbitNode]:
    """A node for as long as the block runs."""
    node = RabbitNode(folder, _free_ports())
    node.start()
    try:
        yield node
    finally:
        node.stop()


def _free_ports() -> int:
    """The first of some ports in a row that are free now."""
    for first in range(25_700, 29_000, 10):
        try:
            for port in range(first, first + _N_PORTS):
                with socket.socket() as listener:
                    listener.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise RuntimeError("no free ports for a RabbitMQ")
