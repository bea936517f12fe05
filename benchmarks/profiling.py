"""Where a server's time goes: its main thread is sampled by the processor time that it uses.

Run as a program, it becomes `ewms` with a sampler: `python -m benchmarks.profiling FILE ARGS…`.
It samples from SIGUSR2 on, so that starting up does not count.
The signal of the interval timer costs little and, unlike cProfile, the same for each function,
so small ones do not look larger than they are. Time within C is counted for the Python function
that called it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.table import Table

__all__ = ["Profile", "begin_sampling", "profiled_command", "read_profile", "show_profile"]

_INTERVAL_SECONDS = 0.001
_SHOWN = 30
_FOREIGN = "site-packages/"


@dataclass(frozen=True, slots=True)
class Profile:
    """Samples by function: in it alone, and in it or what it called."""

    n_samples: int
    alone: Counter[str]
    in_all: Counter[str]


class _Sampler:
    """Counts functions at each tick of the timer."""

    def __init__(self) -> None:
        self._alone: Counter[str] = Counter()
        self._in_all: Counter[str] = Counter()

    def attach(self) -> None:
        signal.signal(signal.SIGPROF, self._sample)
        signal.signal(signal.SIGUSR2, self._start)

    def _start(self, _number: int, _frame: FrameType | None) -> None:
        signal.setitimer(signal.ITIMER_PROF, _INTERVAL_SECONDS, _INTERVAL_SECONDS)

    def _sample(self, _number: int, frame: FrameType | None) -> None:
        names = list(_names(frame))
        if names:
            self._alone[names[0]] += 1
            self._in_all.update(set(names))

    def save(self, file: Path) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        file.write_text(json.dumps({"alone": self._alone, "in_all": self._in_all}))


def _names(frame: FrameType | None) -> Iterator[str]:
    while frame is not None:
        code = frame.f_code
        path = code.co_filename.rpartition(_FOREIGN)[2]
        yield f"{path.removeprefix(f'{Path.cwd()}/')}:{code.co_firstlineno} {code.co_qualname}"
        frame = frame.f_back


def profiled_command(file: Path, *arguments: str) -> tuple[str, ...]:
    """The command that runs `ewms` with these arguments and leaves its profile in the file."""
    return (sys.executable, "-m", "benchmarks.profiling", str(file), *arguments)


def begin_sampling(pid: int) -> None:
    """Have a profiled server count from now on."""
    os.kill(pid, signal.SIGUSR2)


def read_profile(file: Path) -> Profile:
    """The profile that a server has left when it ended."""
    found = json.loads(file.read_text())
    alone, in_all = Counter(found["alone"]), Counter(found["in_all"])
    return Profile(alone.total(), alone, in_all)


def show_profile(console: Console, title: str, profile: Profile) -> None:
    """Print the functions in which, with what they call, most of the time goes."""
    table = Table("in it", "with what it calls", "function", title=title)
    # What is in every sample is how the server was started, and says nothing.
    inner = Counter({n: k for n, k in profile.in_all.items() if k < 0.99 * profile.n_samples})
    for name, number in inner.most_common(_SHOWN):
        table.add_row(
            f"{profile.alone[name] / profile.n_samples:.1%}",
            f"{number / profile.n_samples:.1%}",
            name,
        )
    console.print(table)


def _main() -> None:
    file = Path(sys.argv.pop(1))
    sampler = _Sampler()
    (command,) = entry_points(group="console_scripts", name="ewms")
    serve = command.load()
    sampler.attach()
    try:
        serve()
    finally:
        sampler.save(file)


if __name__ == "__main__":
    _main()
