"""The stack of one machine: which parts there are, how they find one another, in which order they
end, and the embedded PostgreSQL that they share.

The parts start at once, each retrying until the others are there. The first one that needs it
starts PostgreSQL; the stack joins as a further user, so that no restart of a part takes the
server down, and brings it back if it ends. Must never do a part's work.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

from ewms_rpc.backoff import Backoff
from wms_grpc.part import Part, PartFailed, Program
from wms_grpc.part_logs import PartLogs

__all__ = ["PartFailed", "StackSettings", "run_stack"]

# All parts together; what a service manager or an impatient person waits for without a SIGKILL.
_STOP_SECONDS = 9.0
_LEAST_STOP_SECONDS = 1.0
_PROBE_EVERY = timedelta(seconds=10)
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}


@dataclass(frozen=True, slots=True)
class StackSettings:
    """Where a stack keeps its files and serves. `slots`: workers at once; None: by the machine."""

    data: Path
    wms: str
    mqs: str
    slots: int | None
    insecure: bool
    log_json: bool


async def run_stack(
    settings: StackSettings, stop: asyncio.Event, say: Callable[[str], None]
) -> None:
    """Run the parts until `stop` is set; `say` is given the line that begins with `ready`.

    Raises PartFailed for a part that cannot start (in an ExceptionGroup), ValueError for an
    address that is none.
    """
    try:
        await _run_parts(settings, stop, say)
    except* PartFailed:
        # The parts were killed, so none of them has stopped the server as its last user.
        await _leave_postgres(settings.data)
        raise


async def _run_parts(
    settings: StackSettings, stop: asyncio.Event, say: Callable[[str], None]
) -> None:
    wms, mqs = _with_port(settings.wms), _with_port(settings.mqs)
    with PartLogs(sys.stderr.buffer, as_json=settings.log_json) as logs:
        parts = [Part(program, logs) for program in _programs(settings, wms, mqs)]
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(part.run()) for part in parts]
            running.append(
                group.create_task(
                    _announce_and_hold(settings, parts, logs, lambda: say(_ready_line(wms, mqs)))
                )
            )
            await stop.wait()
            await _stop_in_turn(parts)
            for task in running:
                task.cancel()


def _programs(settings: StackSettings, wms: str, mqs: str) -> list[Program]:
    database = ("--database", "embedded", "--data", str(settings.data))
    serving = (*database, *(("--insecure",) if settings.insecure else ()))
    slots = ("--slots", str(settings.slots)) if settings.slots else ()
    logs = ("--log-json",) if settings.log_json else ()
    # By this name a part knows its own: others may serve where it looks for them.
    stack = uuid4().hex
    to_wms = ("--wms", _reachable(wms), "--data", str(settings.data / "tms"))
    programs = [
        ("mqs", ("--listen", mqs, *serving, *logs), "listening on"),
        ("wms", ("--listen", wms, "--mqs", _reachable(mqs), *serving, *logs), "listening on"),
        ("tms", (*to_wms, *slots, *logs), "watching"),
    ]
    return [
        Program(name, options, announcement, {f"EWMS_{name.upper()}_STACK": stack})
        for name, options, announcement in programs
    ]


def _ready_line(wms: str, mqs: str) -> str:
    return f"ready: WMS on {wms}, MQS on {mqs}"


def _with_port(address: str) -> str:
    """The address with a free port in place of 0: a part that is started again keeps its own."""
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdigit():
        raise ValueError(f"{address!r} is not HOST:PORT")
    if int(port):
        return address
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((host.strip("[]"), 0))
        return f"{host}:{probe.getsockname()[1]}"


def _reachable(address: str) -> str:
    """Where a part on this machine finds one that listens at the address."""
    host, _, port = address.rpartition(":")
    return f"{_WILDCARDS.get(host, host)}:{port}"


async def _announce_and_hold(
    settings: StackSettings, parts: Sequence[Part], logs: PartLogs, announce: Callable[[], None]
) -> None:
    for part in parts:
        await part.ready.wait()
    announce()
    await _hold_postgres(settings, logs)


async def _hold_postgres(settings: StackSettings, logs: PartLogs) -> None:
    """Use the server until cancelled, and start it again whenever it has ended."""
    # Imported only now, since nobody waits for this any more.
    from ewms_postgres.connection import held_connection, watch_connection
    from ewms_postgres.embedded import EmbeddedPostgresError, embedded_postgres
    from ewms_postgres.errors import DatabaseError
    from ewms_rpc.logs import configure

    configure(settings.log_json)
    backoff = Backoff()
    while True:
        try:
            async with (
                embedded_postgres(settings.data) as server,
                held_connection(server.url("postgres"), application_name="ewms-up") as connection,
            ):
                backoff.reset()
                await watch_connection(connection, every=_PROBE_EVERY)
        except (DatabaseError, EmbeddedPostgresError) as error:
            logs.warn("embedded PostgreSQL is lost, starting it again", reason=error)
        await backoff.wait()


async def _leave_postgres(data: Path) -> None:
    from ewms_postgres.embedded import EmbeddedPostgresError, embedded_postgres

    if not (data / "postgres" / "postmaster.pid").exists():
        return
    # Left running it can be adopted; the part's failure is what there is to tell.
    with suppress(EmbeddedPostgresError):
        async with embedded_postgres(data):
            pass


async def _stop_in_turn(parts: Sequence[Part]) -> None:
    """Stop the parts, each before those that it needs."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + _STOP_SECONDS
    for part in reversed(parts):
        await part.stop(max(deadline - clock(), _LEAST_STOP_SECONDS))
