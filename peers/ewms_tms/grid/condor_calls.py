"""The TMS's side of its HTCondor helper: one process, one call after the other, each in its time.

The bindings hold Python's global lock while they wait for a daemon, so a slow schedd would stop the
event loop even from a thread. Guarantees that a call ends by its deadline, whatever HTCondor does:
a helper that does not answer is killed, and the next call has a new one. What became of a call that
was cut short is not known. The helper has the next call before it has answered the last one, so
that it never waits for the event loop.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import sys
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import TypeVar, cast

import structlog

from ewms_tms.grid import GridError, GridUnavailable, NothingDone, Refused, UnknownCluster
from ewms_tms.grid.condor_messages import HEADER, Call, Failure, FailureKind, frame

__all__ = ["CondorCalls"]

Result = TypeVar("Result")

_CALLS_AT_ONCE = 2
_HELPER = "ewms_tms.grid.condor_helper"
_ERRORS: dict[FailureKind, type[GridError]] = {
    FailureKind.REFUSED: Refused,
    FailureKind.UNAVAILABLE: GridUnavailable,
    FailureKind.NOTHING_DONE: NothingDone,
    FailureKind.UNKNOWN_CLUSTER: UnknownCluster,
}

log = structlog.get_logger(__name__)


class CondorCalls:
    """Calls to HTCondor.

    Parameters
    ----------
    environment
        What the helper's environment has beyond ours: HTCondor's configuration.
    locks
        Descriptors that the helper keeps open for its life: the data folder's lock, so that the
        next TMS begins only when the last call of this one is over.
    """

    def __init__(self, environment: Mapping[str, str], locks: tuple[int, ...] = ()) -> None:
        self._environment, self._locks = dict(environment), locks
        self._places = asyncio.Semaphore(_CALLS_AT_ONCE)
        self._starting = asyncio.Lock()
        self._helper: _Helper | None = None

    async def do(self, call: Call[Result]) -> Result:
        """Have a call made.

        Raises
        ------
        Refused
            HTCondor will not do it; nothing was done.
        UnknownCluster
            There is no such cluster.
        NothingDone
            It does not work now; nothing was done.
        GridUnavailable
            It is not known whether it was done.
        """
        async with self._places:
            answer = await self._exchange(call)
        if isinstance(answer, Failure):
            raise _ERRORS[answer.kind](answer.words)
        return cast(Result, answer)

    @property
    def helper_pid(self) -> int | None:
        """The helper's process, while there is one."""
        return self._helper.pid if self._helper is not None else None

    async def close(self) -> None:
        """End the helper now, if there is one; the next call starts another."""
        async with self._starting:
            await self._end()

    async def _exchange(self, call: Call[Result]) -> object:
        helper, before, answer = await self._asked(call)
        # Until its turn has come, the time is another one's.
        await asyncio.wait([before])
        try:
            async with asyncio.timeout(call.deadline):
                return await answer
        except TimeoutError:
            await self._replace(helper)
            words = f"HTCondor has not answered for {call.deadline:.0f} s"
            raise GridUnavailable(words) from None
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            await self._replace(helper)
            raise GridUnavailable("the helper that speaks with HTCondor has died") from error

    async def _asked(
        self, call: object
    ) -> tuple[_Helper, asyncio.Future[object], asyncio.Future[object]]:
        while True:
            helper = await self._living()
            try:
                return helper, *helper.ask(call)
            except BrokenPipeError:
                # Nothing was sent: the next one gets it.
                await self._replace(helper)

    async def _living(self) -> _Helper:
        """A helper that nothing says is dead."""
        async with self._starting:
            if self._helper is not None and self._helper.is_dead:
                await self._end()
            if self._helper is None:
                self._helper = _Helper(await self._start())
            return self._helper

    async def _replace(self, helper: _Helper) -> None:
        """End a helper, unless another call has seen to it."""
        async with self._starting:
            if self._helper is helper:
                log.error("the HTCondor helper is replaced")
                await self._end()

    async def _end(self) -> None:
        helper, self._helper = self._helper, None
        if helper is not None:
            # The next one must not begin before.
            await asyncio.shield(helper.end())

    async def _start(self) -> Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", _HELPER, str(os.getpid()),
            stdin=PIPE,
            stdout=PIPE,
            env={**os.environ, **self._environment},
            pass_fds=self._locks,
            # A Ctrl-C at the terminal is for the TMS, which ends its helper itself.
            start_new_session=True,
        )  # fmt: skip


class _Helper:
    """One helper process, and who waits for its answers: they come in the order of the calls."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process, self._calls, self._answers = process, process.stdin, process.stdout
        self._waiting: deque[asyncio.Future[object]] = deque()
        self._last: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._last.set_result(None)
        self._reading = asyncio.create_task(self._read())

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def is_dead(self) -> bool:
        """Whether it is known to take no more; its pipe closes before its end is known."""
        has_ended = self._process.returncode is not None or self._reading.done()
        return has_ended or self._calls.is_closing()

    def ask(self, call: object) -> tuple[asyncio.Future[object], asyncio.Future[object]]:
        """Send a call to it; the answer to the call before, and the one to this.

        Raises BrokenPipeError if it is dead, and nothing was sent.
        """
        try:
            self._calls.write(frame(call))
        except RuntimeError as error:
            # uvloop's word for a pipe that was closed, which it need not have told before.
            raise BrokenPipeError from error
        before = self._last
        self._last = asyncio.get_running_loop().create_future()
        self._waiting.append(self._last)
        return before, self._last

    async def end(self) -> None:
        """Kill it; who waits is told."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await asyncio.wait([self._reading])

    async def _read(self) -> None:
        try:
            while True:
                (length,) = HEADER.unpack(await self._answers.readexactly(HEADER.size))
                answer = pickle.loads(await self._answers.readexactly(length))
                waiting = self._waiting.popleft()
                # Who asked may have been cancelled.
                if not waiting.done():
                    waiting.set_result(answer)
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            while self._waiting:
                waiting = self._waiting.popleft()
                if not waiting.done():
                    waiting.set_exception(error)
                    # It may be that nobody waits any more.
                    waiting.exception()
