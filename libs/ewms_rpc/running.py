"""Runs a program of ours: uvloop, and signals that ask it to stop.

The first SIGTERM or SIGINT sets the stop event, so that the program drains; the second one
cancels it.
"""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

import uvloop

__all__ = ["run"]

_Result = TypeVar("_Result")

# A large request makes ten thousands of objects that all live until it is answered: Python's own
# threshold of 700 has them looked through dozens of times, for nothing.
_COLLECT_AFTER: Final = 20_000


def run(main: Callable[[asyncio.Event], Coroutine[Any, Any, _Result]]) -> _Result:
    """Runs `main(stop)` to its end and returns what it returns.

    Parameters
    ----------
    main
        The program. It ends soon after its `stop` event is set.

    Raises
    ------
    What `main` raises; `asyncio.CancelledError` after a second signal.
    """
    # What was imported lives as long as the program.
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 20, 20)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_until_stopped(main))


async def _until_stopped(main: Callable[[asyncio.Event], Coroutine[Any, Any, _Result]]) -> _Result:
    loop, task, stop = asyncio.get_running_loop(), asyncio.current_task(), asyncio.Event()
    assert task is not None

    def signalled() -> None:
        if stop.is_set():
            task.cancel()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signalled)
    return await main(stop)
