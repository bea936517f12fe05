"""The calls that a server has open: counted, and, when they are streams, ended from outside.

Guarantees that a stream is ended once, with one reason, and that a subscriber who takes nothing
for `write_timeout` holds no handler. One timer serves all streams; a message costs two
assignments. Must never touch a call whose handler has returned.
"""

from __future__ import annotations

import asyncio
from time import monotonic

from ewms_rpc.errors import ResourceExhausted, RpcError

__all__ = ["OpenStream", "Traffic"]


class OpenStream:
    """A stream that is being served, by the task that opened it.

    `writing_since` is the time at which the write that is under way began.
    """

    __slots__ = ("_task", "drains_itself", "ending", "writing_since")

    def __init__(self, task: asyncio.Task[object], drains_itself: bool) -> None:
        self._task = task
        self.drains_itself = drains_itself
        self.ending: RpcError | None = None
        self.writing_since: float | None = None

    def end(self, reason: RpcError) -> None:
        """Interrupts the handler, which then answers with the reason. The first reason stands."""
        if self.ending is None:
            self.ending = reason
            self._task.cancel()

    def interrupted(self) -> RpcError | None:
        """The reason for which the handler was interrupted, if it was by `end`; takes it back."""
        if self.ending is not None:
            self._task.uncancel()
        return self.ending


class Traffic:
    """The open calls of one server.

    Parameters
    ----------
    write_timeout
        Seconds for which a subscriber may take nothing while something waits for it.
    """

    def __init__(self, write_timeout: float) -> None:
        self._write_timeout = write_timeout
        self._refuses = False
        self._in_flight = 0
        self._idle: asyncio.Event | None = None
        self._streams: set[OpenStream] = set()
        self._sweep: asyncio.TimerHandle | None = None

    @property
    def refuses(self) -> bool:
        """Whether new calls are turned away."""
        return self._refuses

    @property
    def in_flight(self) -> int:
        """How many calls have no answer yet."""
        return self._in_flight

    def begin(self) -> None:
        """A call has come in."""
        self._in_flight += 1

    def finish(self) -> None:
        """A call has its answer, or will never need one."""
        self._in_flight -= 1
        if not self._in_flight and self._idle is not None:
            self._idle.set()

    def open_stream(self, drains_itself: bool) -> OpenStream:
        """A stream of the current task; close it before the task goes on to anything else."""
        task = asyncio.current_task()
        assert task is not None
        stream = OpenStream(task, drains_itself)
        self._streams.add(stream)
        if self._sweep is None:
            self._schedule_sweep()
        return stream

    def close_stream(self, stream: OpenStream) -> None:
        """The stream's handler is done; it cannot be ended any more."""
        self._streams.discard(stream)

    def refuse(self) -> None:
        """From now on no call is let in."""
        self._refuses = True

    def end_streams(self, reason: RpcError) -> None:
        """Ends every open stream but those that end by themselves when the server drains."""
        for stream in list(self._streams):
            if not stream.drains_itself:
                stream.end(reason)

    async def idle(self) -> None:
        """Returns when no call is in flight."""
        if self._in_flight:
            self._idle = asyncio.Event()
            await self._idle.wait()

    def close(self) -> None:
        """Stops the timer."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None

    def _schedule_sweep(self) -> None:
        interval = self._write_timeout / 8
        self._sweep = asyncio.get_running_loop().call_later(interval, self._end_stuck_streams)

    def _end_stuck_streams(self) -> None:
        self._sweep = None
        limit = monotonic() - self._write_timeout
        for stream in list(self._streams):
            if stream.writing_since is not None and stream.writing_since <= limit:
                words = f"the subscriber took nothing for {self._write_timeout:g} s"
                stream.end(ResourceExhausted("stream", words))
        if self._streams:
            self._schedule_sweep()
