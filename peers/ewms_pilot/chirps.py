"""Telling the pool how the pilot is doing, without ever failing or holding up the work.

Statuses are sent in order and at once, to the job's event log or its ad; those in the log go to the
ad as well where the pool takes that. Counts and errors are worth their last value only: at most
one of each in a second, and what is pending is sent when the pilot ends. The way out is a datagram
socket where the local pool gives one, else the proxy of HTCondor's job (`chirp_proxy`), else its
program `condor_chirp`; a worker without any of them has chirps switched off, which is logged once.
What could not be sent is tried again in a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import shutil
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from ewms_pilot.commands import CommandRunner
from ewms_pilot.environment import ChirpConfig
from ewms_pilot.errors import PilotError
from ewms_pilot.runners import Invocation

__all__ = ["Chirps", "PilotStatus", "condor_chirp", "datagrams"]

_LOG = logging.getLogger(__name__)
_INTERVAL = 1.0
_MAX_TEXT = 500
_MAX_WAITING = 64
_SEND_TIMEOUT = 10.0
_STATUS, _ERROR = "HTChirpEWMSPilotStatus", "HTChirpEWMSPilotError"
_CONDOR_CHIRP_PLACES = ("/usr/libexec/condor", "/usr/lib/condor/libexec")

Send = Callable[[list[str]], Awaitable[None]]


class PilotStatus(enum.Enum):
    """What a pilot is doing, in the predecessor's words."""

    STARTED = "Started"
    RUNNING_INIT_COMMAND = "RunningInitCommand"
    AWAITING_FIRST_MESSAGE = "AwaitingFirstMessage"
    TASKING = "Tasking"
    PENDING_REMAINING_TASKS = "PendingRemainingTasks"
    FATAL_ERROR = "FatalError"
    DONE = "Done"


class Chirps:
    """The pilot's chirps.

    Parameters
    ----------
    config
        Whether to chirp, and whether to the job's event log or its attributes. A `socket` has no
        attributes behind it.
    send
        Sends one command of condor_chirp; raises OSError or PilotError if it cannot now. None: no
        way out.
    """

    def __init__(self, config: ChirpConfig, send: Send | None) -> None:
        self._is_on = config.is_enabled and send is not None
        self._to_log = config.destination == "JOB_EVENT_LOG"
        # Delayed ones are cheap, but a pool takes them by a prefix of their names, which ours have
        # only if its operator says so (CHIRP_DELAYED_UPDATE_PREFIX).
        self._takes_delayed = config.socket is None
        self._send = send
        self._statuses: deque[tuple[str, str]] = deque(maxlen=_MAX_WAITING)
        self._latest: dict[str, str] = {}
        self._changed = asyncio.Event()
        if config.is_enabled and send is None:
            _LOG.warning(
                "no chirps: this worker has no chirp socket, no chirp proxy and no condor_chirp"
            )

    def status(self, status: PilotStatus) -> None:
        """Tell what the pilot is doing from now on."""
        _LOG.info("status: %s", status.value)
        self._statuses.append((_STATUS, _quoted(status.value)))
        self._changed.set()

    def error(self, text: str) -> None:
        """Tell of an error; of several in a second the last is told."""
        self._set(_ERROR, _quoted(text))

    def counts(self, total: int, failed: int, success: int) -> None:
        """Tell how many tasks have ended, and how."""
        self._set("HTChirpEWMSPilotTasksTotal", str(total))
        self._set("HTChirpEWMSPilotTasksFailed", str(failed))
        self._set("HTChirpEWMSPilotTasksSuccess", str(success))

    async def run(self) -> None:
        """Send what comes, until cancelled."""
        loop = asyncio.get_running_loop()
        next_latest = 0.0
        while self._is_on:
            wait = max(next_latest - loop.time(), 0.0) if self._latest else None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            self._changed.clear()
            is_due = loop.time() >= next_latest
            try:
                if self._latest and is_due:
                    next_latest = loop.time() + _INTERVAL
                    await self._send_latest()
                await self._send_statuses()
            except (OSError, PilotError) as error:
                _LOG.debug("a chirp is not sent: %s", error)
                await asyncio.sleep(_INTERVAL)
                self._changed.set()

    async def flush(self, timeout: float) -> None:
        """Send what is pending, once `run` has ended; give up after `timeout` seconds."""
        if not self._is_on:
            return
        try:
            async with asyncio.timeout(timeout):
                await self._send_latest()
                await self._send_statuses()
        except (OSError, PilotError) as error:
            _LOG.warning("the last chirps are not sent: %s", error)

    def _set(self, attribute: str, value: str) -> None:
        self._latest[attribute] = value
        self._changed.set()

    async def _send_latest(self) -> None:
        while self._latest:
            attribute, value = next(iter(self._latest.items()))
            await self._send_one(attribute, value)
            if self._latest[attribute] == value:
                del self._latest[attribute]

    async def _send_statuses(self) -> None:
        while self._statuses:
            await self._send_one(*self._statuses[0])
            self._statuses.popleft()

    async def _send_one(self, attribute: str, value: str) -> None:
        assert self._send is not None
        is_telling = attribute in (_STATUS, _ERROR)
        if self._to_log:
            await self._send(["ulog", f"{attribute}: {value}"])
            if is_telling:
                # The log has it: that the ad has it, too, is not worth a second attempt.
                with contextlib.suppress(OSError, PilotError):
                    await self._set_delayed(attribute, value)
        # The pool's log tells what is set at once, but not what is delayed.
        elif is_telling or not await self._set_delayed(attribute, value):
            await self._send(["set_job_attr", attribute, value])

    async def _set_delayed(self, attribute: str, value: str) -> bool:
        """Have an attribute set with the next update of the ad; False where there is no such."""
        assert self._send is not None
        if self._takes_delayed:
            try:
                await self._send(["set_job_attr_delayed", attribute, value])
            except PilotError as error:
                _LOG.debug("the pool takes no delayed attributes: %s", error)
                self._takes_delayed = False
        return self._takes_delayed


def datagrams(path: Path) -> Send:
    """Sends to a datagram socket that may go and come back."""

    async def send(words: list[str]) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.connect(str(path))
            async with asyncio.timeout(_SEND_TIMEOUT):
                await asyncio.get_running_loop().sock_sendall(sender, " ".join(words).encode())

    return send


def condor_chirp(commands: CommandRunner, environ: Mapping[str, str]) -> Send | None:
    """Sends by HTCondor's program; None where there is none."""
    search = ":".join([environ.get("PATH", ""), *_CONDOR_CHIRP_PLACES])
    program = shutil.which("condor_chirp", path=search)
    if program is None:
        return None

    async def send(words: list[str]) -> None:
        await commands.run(Invocation([program, *words], environ), Path.cwd(), _SEND_TIMEOUT)

    return send


def _quoted(text: str) -> str:
    line = " ".join(text.split())[:_MAX_TEXT]
    return '"' + line.replace("\\", "\\\\").replace('"', '\\"') + '"'
