"""What the real demo finds at a site or starts there: an HTCondor pool, RabbitMQ, PostgreSQL.

By the scripts that an operator has for tests. Each can be killed as a power cut would and started
again; what was started here is stopped at the end, and a pool that ran already stays.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shlex
import shutil
import signal
import sys
import tempfile
import urllib.request
from pathlib import Path

import psutil
from demo_parts import DemoFailed, free_ports, run, say, until

__all__ = ["Pool", "Postgres", "Rabbit"]

_SCRIPTS = Path(__file__).resolve().parent
_PILOT = _SCRIPTS.parent / "build" / "ewms-pilot"
_GONE_SECONDS = 30.0


class Pool:
    """An HTCondor pool with two schedds, and a folder in it that is the demo's own."""

    account = "ewms"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._is_ours = False
        self._env: dict[str, str] = {}
        self.place = Path()

    async def start(self) -> None:
        """Find the pool that runs here, or start one."""
        try:
            await self._script("status")
            say("an HTCondor pool runs here already; it stays when this is over")
        except DemoFailed:
            say("starting an HTCondor pool, for this demo alone")
            self._is_ours = True
            await self._script("install", limit=900)
            await self._script("start")
        self._env = _exported(await self._script("env"))
        self.place = Path(tempfile.mkdtemp(prefix="demo-", dir=self._env["EWMS_POOL_WORK"]))
        tokens = self.place / "tokens"
        home = Path(self._env["CONDOR_CONFIG"]).parent
        shutil.copytree(home / "tokens", tokens)
        shutil.copy(_PILOT, self.pilot)
        for path in (self.place, tokens, *tokens.iterdir()):
            shutil.chown(path, self.account, self.account)
        # Jobs pass through to what is theirs in there.
        self.place.chmod(0o711)

    @property
    def schedds(self) -> tuple[str, str]:
        """HTCondor's names of the two."""
        return self._env["EWMS_POOL_SCHEDD"], self._env["EWMS_POOL_SCHEDD2"]

    @property
    def config(self) -> str:
        """HTCondor's configuration for those outside of the pool."""
        return self._env["CONDOR_CONFIG"]

    @property
    def pilot(self) -> Path:
        """The pilot as one file, where the pool sees it."""
        return self.place / "ewms-pilot"

    async def kill_schedd(self) -> None:
        """Kill the second schedd; its master starts it again by itself."""
        os.kill(int(await self._script("pid", "schedd2")), signal.SIGKILL)

    async def await_schedd(self) -> None:
        """Until the second schedd answers again."""
        await until(self._schedd_answers, 60, "the schedd is not back")

    async def _schedd_answers(self) -> bool:
        try:
            await self._script("run", "condor_q", "-name", self.schedds[1], "-totals")
        except DemoFailed:
            return False
        return True

    async def clusters(self, taskforces: set[str], *, ended: bool) -> set[tuple[str, str, str]]:
        """(schedd, taskforce, cluster) of every job in a queue, or in a history, by its ad."""
        found = set()
        for schedd in self.schedds:
            tool = ["condor_history"] if ended else ["condor_q", "-allusers"]
            text = await self._script(
                "run", *tool, "-name", schedd, "-constraint", "EWMSTaskforceUUID isnt undefined",
                "-af", "EWMSTaskforceUUID", "ClusterId",
            )  # fmt: skip
            for line in text.splitlines():
                taskforce, cluster = line.split()
                if taskforce in taskforces:
                    found.add((schedd, taskforce, cluster))
        return found

    async def remove_jobs(self, taskforces: set[str]) -> None:
        """Remove what a failure has left in the queues."""
        for schedd, taskforce, cluster in sorted(await self.clusters(taskforces, ended=False)):
            say(f"removing what is left of {taskforce}: cluster {cluster} of {schedd}")
            await self._script("run", "condor_rm", "-name", schedd, cluster)

    async def end(self) -> None:
        """Stop the pool if it was started here; remove the demo's folder."""
        if self.place != Path():
            shutil.rmtree(self.place, ignore_errors=True)
        if self._is_ours:
            say("stopping the pool")
            await self._script("stop")

    async def _script(self, *arguments: str, limit: float = 120) -> str:
        return await run(self._folder, _SCRIPTS / "condor-pool.sh", *arguments, limit=limit)


class Rabbit:
    """A RabbitMQ node of the demo's own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "rabbitmq"
        self._port = free_ports(5)
        self._commands = folder

    async def start(self) -> None:
        """Start it; it answers when this returns."""
        await self._script("start")

    @property
    def address(self) -> str:
        """Where it speaks AMQP."""
        return f"127.0.0.1:{self._port}"

    async def settings(self) -> dict[str, str]:
        """The settings of an MQS that uses it."""
        lines = (await self._script("env")).splitlines()
        return dict(shlex.split(line)[0].split("=", 1) for line in lines)

    async def kill(self) -> None:
        """End it at once."""
        os.kill(int((self._folder / "pid").read_text()), signal.SIGKILL)
        await self._script("stop")

    async def queues(self) -> list[str]:
        """The names of the queues that it has, by its management API."""
        password = (self._folder / "password").read_text().strip()
        secret = base64.b64encode(f"ewms-mqs:{password}".encode()).decode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port + 1}/api/queues/ewms",
            headers={"Authorization": f"Basic {secret}"},
        )

        def ask() -> list[str]:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return [str(queue["name"]) for queue in json.load(answer)]

        return await asyncio.to_thread(ask)

    async def end(self) -> None:
        """Stop it."""
        if self._folder.exists():
            await self._script("stop")

    async def _script(self, command: str) -> str:
        self._folder.mkdir(exist_ok=True, mode=0o700)
        env = {
            "EWMS_RABBITMQ_FOLDER": str(self._folder),
            "EWMS_RABBITMQ_PORT": str(self._port),
            "PYTHON": sys.executable,
        }
        return await run(self._commands, "sh", _SCRIPTS / "rabbitmq.sh", command, env=env)


class Postgres:
    """Debian's PostgreSQL, with PgBouncer before it and two roles, of the demo's own."""

    def __init__(self, folder: Path) -> None:
        self._home = folder / "postgres"
        self._commands = folder
        self.port = free_ports(1)
        self.pooler_port = free_ports(1)

    async def start(self) -> None:
        """Start it; it answers when this returns."""
        await self._script("start")

    async def settings(self, *, pooled: bool) -> dict[str, str]:
        """The settings of WMS and MQS, and the owner's URL."""
        return _exported(await self._script("env-pooled" if pooled else "env"))

    async def kill(self) -> None:
        """End the server at once, and wait until the last of its processes has noticed."""
        postmaster = psutil.Process(
            int((self._home / "data/postmaster.pid").read_text().split()[0])
        )
        children = postmaster.children(recursive=True)
        postmaster.kill()
        await _until_gone([postmaster, *children])

    async def kill_pooler(self) -> None:
        """End PgBouncer at once."""
        pooler = psutil.Process(int((self._home / "pgbouncer/pid").read_text()))
        pooler.kill()
        await _until_gone([pooler])

    async def end(self) -> None:
        """Stop both."""
        if self._home.exists():
            await self._script("remove")

    async def _script(self, command: str) -> str:
        env = {
            "EWMS_PG_HOME": str(self._home),
            "EWMS_PG_PORT": str(self.port),
            "EWMS_PG_POOLER_PORT": str(self.pooler_port),
        }
        return await run(self._commands, _SCRIPTS / "postgres.sh", command, env=env)


async def _until_gone(processes: list[psutil.Process]) -> None:
    _, alive = await asyncio.to_thread(psutil.wait_procs, processes, timeout=_GONE_SECONDS)
    if alive:
        raise DemoFailed(f"killed, and there still: {[process.name() for process in alive]}")


def _exported(lines: str) -> dict[str, str]:
    """The variables of a script's `export NAME=VALUE` lines."""
    words = (shlex.split(line)[1] for line in lines.splitlines())
    return dict(word.split("=", 1) for word in words)
