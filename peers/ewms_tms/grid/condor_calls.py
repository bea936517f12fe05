"""The TMS's side of its HTCondor helper: one process, one call after the other, each in its time.

The bindings hold Python's global lock while they wait for a daemon, so a slow schedd would stop the
event loop even from a thread. Guarantees that a call ends by its deadline, whatever HTCondor does:
a helper that does not answer is killed, and the next call has a new one. What became of a call that
was cut short is not known.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from contextlib import suppress
from typing import TypeVar, cast

import structlog

from ewms_tms.grid import GridError, GridUnavailable, NothingDone, Refused, UnknownCluster
from ewms_tms.grid.condor_messages import HEADER, Call, Failure, FailureKind, frame

__all__ = ["CondorCalls"]

Result = TypeVar("Result")

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
        self._turn = asyncio.Lock()
        self._helper: Process | None = None

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
        async with self._turn:
            try:
                async with asyncio.timeout(call.deadline):
                    answer = await self._exchange(call)
            except TimeoutError:
                await self.close()
                words = f"HTCondor has not answered for {call.deadline:.0f} s"
                raise GridUnavailable(words) from None
            except (OSError, EOFError, pickle.UnpicklingError) as error:
                await self.close()
                log.error("the HTCondor helper died", error=str(error))
                raise GridUnavailable("the helper that speaks with HTCondor has died") from error
            except asyncio.CancelledError:
                # Its answer would be taken for the next call's.
                await self.close()
                raise
        if isinstance(answer, Failure):
            raise _ERRORS[answer.kind](answer.words)
        return cast(Result, answer)

    @property
    def helper_pid(self) -> int | None:
        """The helper's process, while there is one."""
        return self._helper.pid if self._helper is not None else None

    async def close(self) -> None:
        """End the helper now, if there is one; the next call starts another."""
        helper, self._helper = self._helper, None
        if helper is not None:
            with suppress(ProcessLookupError):
                helper.kill()
            # Killed, it is gone in no time; the next one must not begin before.
            await asyncio.shield(helper.wait())

    async def _exchange(self, call: Call[Result]) -> object:
        stdin, stdout = await self._pipes()
        stdin.write(frame(call))
        await stdin.drain()
        (length,) = HEADER.unpack(await stdout.readexactly(HEADER.size))
        return pickle.loads(await stdout.readexactly(length))

    async def _pipes(self) -> tuple[asyncio.StreamWriter, asyncio.StreamReader]:
        """To and from a helper that nothing says is dead."""
        if self._helper is not None:
            assert self._helper.stdin is not None
            # Its pipe closes before its end is known, and then takes nothing any more.
            if self._helper.returncode is not None or self._helper.stdin.is_closing():
                await self.close()
        if self._helper is None:
            self._helper = await self._start()
        assert self._helper.stdin is not None
        assert self._helper.stdout is not None
        return self._helper.stdin, self._helper.stdout

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
