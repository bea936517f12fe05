"""What can go wrong in a pilot, as types.

    PilotError
    ├── ConfigurationError   a variable of the environment is missing or wrong
    ├── ChirpRefused         the pool does not take a chirp
    ├── FatalError           this worker cannot work and ends
    │   ├── InitFailed       the init command failed
    │   ├── QueueRefused     a queue's broker refuses this worker for good
    │   ├── TaskErrorStop    a task failed and the configuration says to stop then
    │   ├── ScratchUnusable  files cannot be written on this worker
    │   └── SpawnerGone      the process that starts tasks has died
    └── EventError           one event cannot be processed; others can
        ├── CommandError     the command ended badly
        │   ├── CommandFailed      non-zero exit code or signal
        │   ├── CommandTimedOut    it took too long and was killed
        │   └── CommandNotStarted  it could not be started
        ├── OutfileMissing   the task ended well but wrote no out file
        └── OutputRefused    an outgoing queue does not take the result

No text of these errors ever holds a token or the credential.
"""

from __future__ import annotations

import signal

__all__ = [
    "ChirpRefused",
    "CommandError",
    "CommandFailed",
    "CommandNotStarted",
    "CommandTimedOut",
    "ConfigurationError",
    "EventError",
    "FatalError",
    "InitFailed",
    "OutfileMissing",
    "OutputRefused",
    "PilotError",
    "QueueRefused",
    "ScratchUnusable",
    "SpawnerGone",
    "TaskErrorStop",
]


class PilotError(Exception):
    """Base of everything that this package raises on purpose."""


class ConfigurationError(PilotError):
    """A variable of the environment is missing or wrong; `variable` is its name."""

    def __init__(self, variable: str, problem: str) -> None:
        super().__init__(f"{variable}: {problem}")
        self.variable = variable


class ChirpRefused(PilotError):
    """The pool does not take a chirp."""


class FatalError(PilotError):
    """This worker cannot work; it ends with a non-zero exit code."""


class InitFailed(FatalError):
    """The init command failed, so no task can run here."""


class QueueRefused(FatalError):
    """A broker refuses this worker for good: not authorised, queue gone, other broker."""

    def __init__(self, mqid: str, why: str) -> None:
        super().__init__(f"queue {mqid}: {why}")
        self.mqid = mqid


class TaskErrorStop(FatalError):
    """A task failed and EWMS_PILOT_STOP_LISTENING_ON_TASK_ERROR is set."""


class ScratchUnusable(FatalError):
    """Files cannot be written on this worker: every event would fail here."""


class SpawnerGone(FatalError):
    """The process that starts tasks has died, and its tasks with it."""


class EventError(PilotError):
    """An event cannot be processed. `may_repeat`: another attempt may help."""

    may_repeat = True


class CommandError(EventError):
    """A command ended badly. `problem`: how; `stderr_tail`: the last that it wrote there."""

    def __init__(self, problem: str, stderr_tail: str = "") -> None:
        super().__init__(f"{problem}: {stderr_tail}" if stderr_tail else problem)
        self.problem = problem
        self.stderr_tail = stderr_tail


class CommandFailed(CommandError):
    """A command ended with a non-zero exit code, or by a signal (then it is negative)."""

    def __init__(self, exit_code: int, stderr_tail: str = "") -> None:
        super().__init__(
            f"exit code {exit_code}" if exit_code > 0 else _died(exit_code), stderr_tail
        )
        self.exit_code = exit_code


class CommandTimedOut(CommandError):
    """A command took longer than `timeout` seconds and was killed."""

    def __init__(self, timeout: float, stderr_tail: str = "") -> None:
        super().__init__(f"timed out after {timeout:g} s", stderr_tail)


class CommandNotStarted(CommandError):
    """A command could not be started: no such program, not executable."""


class OutfileMissing(EventError):
    """The task ended well but wrote no out file, and there is an outgoing queue."""


class OutputRefused(EventError):
    """An outgoing queue does not take this result; trying again would not help."""

    may_repeat = False


def _died(exit_code: int) -> str:
    try:
        return f"died of {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"died of signal {-exit_code}"
