"""What a story does, drawn from a seed: how a workflow is made up, how fast its users are, and how
it ends.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

__all__ = ["Ending", "Plan", "plan_story"]

Ending = Literal["close", "finish", "abort"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a story does. `pace`: seconds between events; `task_seconds`: how long a task takes."""

    number: int
    ending: Ending
    task_names: tuple[str, ...]
    n_events: int
    n_workers: int
    locations: tuple[str, ...]
    pace: float
    task_seconds: float
    adds_workers: bool
    pauses: bool


def plan_story(number: int, rng: random.Random) -> Plan:
    """A story that fits between a few faults."""
    n_tasks = rng.choice((1, 1, 2))
    return Plan(
        number=number,
        ending=rng.choice(("close", "close", "finish", "finish", "abort")),
        task_names=tuple("ab"[:n_tasks]),
        n_events=rng.randint(10, 30),
        n_workers=rng.randint(1, 2),
        locations=tuple(rng.choice(("local", "sub-2")) for _ in range(n_tasks)),
        pace=rng.uniform(0.0, 0.15),
        task_seconds=rng.choice((0.0, 0.05, 0.15)),
        adds_workers=rng.random() < 0.3,
        pauses=rng.random() < 0.2,
    )
