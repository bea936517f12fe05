"""What a row of the table is, and how it is measured.

Ours and the limit take turns, round after round, and each is judged by its median, so that what
else goes on at this machine hits both alike. The first round of each only warms up: it prepares
statements, opens connections and is not counted.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import Enum
from statistics import median

from benchmarks.site import Kind, Site

__all__ = [
    "Criterion",
    "Measurement",
    "Opening",
    "Round",
    "Row",
    "Unit",
    "Verdict",
    "at_least",
    "measure",
]

Round = Callable[[], Awaitable[float]]
"""Measures once, and returns the figure in the row's unit."""

Opening = Callable[[Site, Kind], AbstractAsyncContextManager[Round]]
"""Starts what is to be measured, on a database of that kind, and stops it in the end."""


class Unit(Enum):
    """What a figure counts. A rate is better when it is greater, a time when it is smaller."""

    RATE = "/s"
    MILLISECONDS = "ms"
    SECONDS = "s"

    def share(self, ours: float, limit: float) -> float:
        """How much of the limit ours reaches; 1 is all of it."""
        return ours / limit if self is Unit.RATE else limit / ours


class Verdict(Enum):
    """How a row came out."""

    GOAL = "goal"
    REQUIRED = "required"
    BELOW = "below"


@dataclass(frozen=True, slots=True)
class Criterion:
    """Something to reach: its words, and whether ours reaches it beside that limit."""

    words: str
    holds: Callable[[float, float], bool]


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table.

    Parameters
    ----------
    name
        By which `--row` finds it.
    what, limit_is
        What is measured, and against what, in words.
    unit
        What both figures count.
    required, goal
        What must be reached, and what we want to reach.
    ours, limit
        Start what is measured. `limit_kind` is the limit's database; ours has `kind`.
    rounds
        How often each is measured.
    needs
        What a machine need not have; such a row is measured only when it is asked for.
    """

    name: str
    what: str
    limit_is: str
    unit: Unit
    required: Criterion
    goal: Criterion
    ours: Opening
    limit: Opening
    kind: Kind = Kind.EMPTY
    rounds: int = 7
    needs: str = ""


@dataclass(frozen=True, slots=True)
class Measurement:
    """A row's medians, and every round that they are of."""

    row: Row
    ours: float
    limit: float
    rounds_of_ours: tuple[float, ...]
    rounds_of_limit: tuple[float, ...]

    @property
    def share(self) -> float:
        """How much of the limit ours reaches."""
        return self.row.unit.share(self.ours, self.limit)

    @property
    def verdict(self) -> Verdict:
        """What is reached."""
        if not self.row.required.holds(self.ours, self.limit):
            return Verdict.BELOW
        return Verdict.GOAL if self.row.goal.holds(self.ours, self.limit) else Verdict.REQUIRED


def at_least(share: float, unit: Unit = Unit.RATE) -> Criterion:
    """Reach that share of the limit."""
    return Criterion(f"{share:.0%}", lambda ours, limit: unit.share(ours, limit) >= share)


async def measure(row: Row, site: Site) -> Measurement:
    """Measure a row in interleaved rounds; who goes first takes turns, too."""
    ours: list[float] = []
    limit: list[float] = []
    async with row.ours(site, row.kind) as our_round, row.limit(site, Kind.EMPTY) as limit_round:
        await our_round()
        await limit_round()
        for number in range(site.scale.rounds(row.rounds)):
            if number % 2:
                limit.append(await limit_round())
                ours.append(await our_round())
            else:
                ours.append(await our_round())
                limit.append(await limit_round())
    return Measurement(row, median(ours), median(limit), tuple(ours), tuple(limit))
