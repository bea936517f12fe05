"""Measured tasks as small jobs that take as long and leave as much, both scaled.

Each sleeps, and writes files of zeros; what comes from outside is not needed. Files get names that
are safe in any folder and stay distinct.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from wms_grpc.domain.tasks import BatchWork

__all__ = ["Simulation"]

_SCRIPT: Final = (
    'sleep "$1" || exit 1; shift; '
    'while [ "$#" -ge 2 ]; do head -c "$1" /dev/zero > "$2" || exit 1; shift 2; done'
)
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._]")
_LONGEST_NAME: Final = 100
_LONGEST_SLEEP: Final = 1e9
_LARGEST_FILE: Final = 1e15


class Simulation:
    """Makes the jobs of one workflow."""

    def __init__(self, scale: float, files: Iterable[str]) -> None:
        self._scale = scale
        self._names = _safe_names(files)

    def work(
        self,
        seconds: float,
        inputs: Sequence[tuple[str, str]],
        outputs: Mapping[str, int],
    ) -> BatchWork:
        """Return a job. Inputs are (task, file) of those that a task makes; outputs have sizes."""
        arguments = ["-c", _SCRIPT, "simulate", self._slept(seconds)]
        for file, size in outputs.items():
            written = round(min(size * self._scale, _LARGEST_FILE))
            arguments += [str(written), self._names[file]]
        return BatchWork(
            executable="/bin/sh",
            arguments=tuple(arguments),
            inputs=tuple(f"task:{task}/{self._names[file]}" for task, file in inputs),
            outputs=tuple(self._names[file] for file in outputs),
        )

    def _slept(self, seconds: float) -> str:
        text = f"{min(seconds * self._scale, _LONGEST_SLEEP):.3f}"
        return text.rstrip("0").rstrip(".")


def _safe_names(files: Iterable[str]) -> dict[str, str]:
    names: dict[str, str] = {}
    taken: set[str] = set()
    last_numbers: dict[str, int] = {}
    for file in files:
        plain = _UNSAFE.sub("_", file)[-_LONGEST_NAME:].lstrip(".") or "_"
        name = plain
        number = last_numbers.get(plain.casefold(), 1)
        while name.casefold() in taken:
            number += 1
            name = f"{plain}.{number}"
        last_numbers[plain.casefold()] = number
        taken.add(name.casefold())
        names[file] = name
    return names
