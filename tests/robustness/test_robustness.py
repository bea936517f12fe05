"""The system under real traffic while its parts are killed, stopped and cut off from one another:
no event lost, no taskforce started twice, no watch with a gap or a repeat.

`ROBUSTNESS_SEED` draws the same traffic and the same faults again; `SOAK_SCALE` makes the long
tests shorter (0.01: a hundredth). What was found so far is in docs/faults.md.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
from collections.abc import Sequence
from pathlib import Path
from traceback import format_exception

import pytest
from faults import Fault, Kind, inject_all, plan_faults
from history import History
from report import write_report
from stack import PARTS, running_stack
from traffic import Traffic
from validation import validate

SCALE = float(os.environ.get("SOAK_SCALE", "1"))
N_KILLS = max(1, round(120 * SCALE))

_N_SHORT_KILLS = 2
_N_STORIES_AT_ONCE = 2


def seed() -> int:
    return int(os.environ.get("ROBUSTNESS_SEED") or secrets.randbits(32))


async def hold_under(
    faults: Sequence[Fault], rng: random.Random, number: int, folder: Path, name: str
) -> None:
    """Run traffic while the faults happen; then hold what was seen against the model."""
    history = History(folder / "history.jsonl")
    problems: list[str] = []
    async with running_stack(folder) as stack:
        traffic = Traffic(stack.addresses, history, stack.ledger, rng)
        try:
            async with asyncio.TaskGroup() as group:
                running = group.create_task(traffic.run(_N_STORIES_AT_ONCE))
                await inject_all(stack, history, faults, rng)
                traffic.end()
                await running
        except* Exception as errors:
            problems += ["".join(format_exception(error)) for error in leaves(errors)]
        violations = validate(history, stack.ledger, stack.grid)
        problems += [str(violation) for violation in violations]
        if problems:
            report = await asyncio.to_thread(write_report, name, number, stack, history, problems)
            listed = "\n".join(problem[-500:] for problem in problems[:20])
            pytest.fail(f"{len(problems)} problems, see {report}\n{listed}", pytrace=False)
    history.close()
    assert history.n_workflows > 0
    assert stack.exit_codes == dict.fromkeys(stack.exit_codes, 0), "a part did not drain"


def leaves(errors: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in errors.exceptions:
        found += leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


@pytest.mark.timeout(400)
@pytest.mark.parametrize("part", PARTS)
async def test_a_killed_part_loses_and_repeats_nothing(part: str, tmp_path: Path) -> None:
    number = seed()
    rng = random.Random(number)
    faults = plan_faults([part], ["kill"], _N_SHORT_KILLS, rng)
    await hold_under(faults, rng, number, tmp_path, f"killed_part and {part}")


@pytest.mark.timeout(400)
async def test_paused_parts_and_broken_connections_lose_and_repeat_nothing(tmp_path: Path) -> None:
    number = seed()
    rng = random.Random(number)
    kinds: tuple[Kind, ...] = ("stop", "stop", "cut", "stall")
    faults = [
        fault for kind in kinds for fault in plan_faults(["wms", "mqs", "tms"], [kind], 1, rng)
    ]
    await hold_under(faults, rng, number, tmp_path, "paused_parts")


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("part", PARTS)
async def test_a_hundred_kills_of_a_part_and_more(part: str, tmp_path: Path) -> None:
    number = seed()
    rng = random.Random(number)
    faults = plan_faults([part], ["kill"], N_KILLS, rng)
    await hold_under(faults, rng, number, tmp_path, f"hundred_kills and {part}")


@pytest.mark.soak
@pytest.mark.timeout(0)
async def test_a_hundred_faults_of_every_kind_anywhere(tmp_path: Path) -> None:
    number = seed()
    rng = random.Random(number)
    kills = plan_faults(PARTS, ["kill"], N_KILLS, rng)
    pauses = plan_faults(["wms", "mqs", "tms", "worker"], ["stop", "cut", "stall"], N_KILLS, rng)
    faults = rng.sample([*kills, *pauses], k=len(kills) + len(pauses))
    await hold_under(faults, rng, number, tmp_path, "every_kind")
