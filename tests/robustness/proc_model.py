"""What is allowed in a job event log: a model of clusters and their procs, in plain Python.

Reads the log's text by itself, so that a fault in the reader of the TMS cannot hide here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["ProcModel"]

# Kind of a job event -> the states of a proc in which it may come, and the state after it.
_PROC_EVENTS = {
    0: ({"new"}, "idle"),
    1: ({"idle"}, "running"),
    4: ({"running"}, "idle"),
    5: ({"running"}, "ended"),
    9: ({"new", "idle", "running", "held"}, "ended"),
    12: ({"idle", "running"}, "held"),
    13: ({"held"}, "idle"),
}
_EVENT = re.compile(r"^(\d{3}) \((\d+)\.(-?\d+)\.-?\d+\)")
_NOTES = re.compile(r"ewms taskforce=(\S+) attempt=(\d+)")


@dataclass(slots=True)
class ProcModel:
    """The procs of one job event log: each has one worker at a time; each taskforce one cluster.

    `clusters` are the clusters of each taskforce, `n_executions` how often workers were started.
    """

    clusters: dict[str, list[int]] = field(default_factory=dict)
    n_executions: int = 0
    _states: dict[tuple[int, int], str] = field(default_factory=dict)
    _event: int = -1
    _cluster: int = -1

    def read(self, line: str) -> Iterator[str]:
        """Take the next line; what in it was not allowed."""
        if header := _EVENT.match(line):
            self._event, self._cluster, proc = (int(number) for number in header.groups())
            yield from self._step(proc)
        elif self._event == 35 and (notes := _NOTES.search(line)):
            mine = self.clusters.setdefault(notes[1], [])
            mine.append(self._cluster)
            if len(mine) > 1:
                yield f"{notes[1]} was submitted as clusters {mine}"

    def _step(self, proc: int) -> Iterator[str]:
        if self._event not in _PROC_EVENTS:
            return
        allowed, after = _PROC_EVENTS[self._event]
        key = (self._cluster, proc)
        before = self._states.get(key, "new")
        self.n_executions += self._event == 1
        if before not in allowed:
            yield f"proc {key[0]}.{proc}: event {self._event:03d} while {before}"
        self._states[key] = after
