"""Engines that are killed at random: nothing fires twice, nothing is lost, whatever the net."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from ewms_postgres.database import Database, open_database
from ewms_postgres.statements import statement
from wms_grpc.domain.ids import WorkflowId, number_of_task
from wms_grpc.domain.model import PilotConfig, WorkerConfig
from wms_grpc.domain.submission import ClusterLocations, Submission, TaskSpec
from wms_grpc.domain.tasks import NoopWork, WaitWork, Work
from wms_grpc.domain.translation import translate
from wms_grpc.storage import steering
from wms_grpc.storage.firing import fire
from wms_grpc.storage.requests import RequestKey
from wms_grpc.storage.store import Store
from wms_grpc.storage.submissions import insert_plan, messages_of

LOCATIONS = ClusterLocations([])

_STATE = statement("SELECT state FROM wms.workflow WHERE workflow_id = :workflow_id")
_TOLD = statement("""
    SELECT subject, what FROM wms.history
    WHERE workflow_id = :workflow_id AND kind = 'TASK' ORDER BY revision, id
""")


def a_task(name: str, depends_on: list[str], work: Work) -> TaskSpec:
    texts = ("", "", {}, "", "", {})
    return TaskSpec(
        name, (), (), (), *texts, 0, WorkerConfig(), PilotConfig(), tuple(depends_on), None, work
    )


def a_net(dice: random.Random) -> tuple[TaskSpec, ...]:
    """Sixty tasks, each waiting for a few before it, every fourth for a signal."""
    tasks: list[TaskSpec] = []
    for number in range(60):
        before = [task.name for task in tasks[-12:]]
        depends_on = dice.sample(before, dice.randint(0, min(4, len(before))))
        work: Work = WaitWork(signal="go") if dice.random() < 0.25 else NoopWork()
        tasks.append(a_task(f"t{number}", depends_on, work))
    return tuple(tasks)


async def an_engine(
    store: Store, dice: random.Random, n_kills: Counter[str], is_over: asyncio.Event
) -> None:
    """Fire until it is over; every other firing is killed somewhere on its way."""
    while not is_over.is_set():
        firing = asyncio.ensure_future(fire(store, LOCATIONS))
        if dice.random() < 0.5:
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(firing), dice.uniform(0, 0.03))
            if not firing.done():
                firing.cancel()
                n_kills["killed"] += 1
            with suppress(asyncio.CancelledError):
                await firing
        elif not await firing:
            await asyncio.sleep(0.002)


async def until_ended(db: Database, workflow_id: WorkflowId, committed: asyncio.Event) -> str:
    while (state := await db.fetchval(_STATE, workflow_id=workflow_id)) == "ACTIVE":
        # Who is killed between its commit and telling of it, tells nobody.
        with suppress(TimeoutError):
            await asyncio.wait_for(committed.wait(), 0.5)
        committed.clear()
    return str(state)


@pytest.mark.parametrize("seed", range(6))
async def test_killed_engines_fire_each_transition_once_in_the_order_of_the_net(
    stack_database: str, seed: int
) -> None:
    dice = random.Random(seed)
    tasks = a_net(dice)
    n_kills: Counter[str] = Counter()
    committed, is_over = asyncio.Event(), asyncio.Event()
    async with open_database(stack_database, application_name="test", max_size=6) as db:
        store = Store(db, lambda _parts, _topics: committed.set())
        submission = Submission("me", "net", {}, 50, (), tasks)
        plan = translate(submission, LOCATIONS, datetime.now(UTC))
        workflow_id = plan.workflow.workflow_id
        await insert_plan(
            store, plan, messages_of(plan), RequestKey("me", "", "", b""), is_claimed=False
        )

        engines = [asyncio.create_task(an_engine(store, dice, n_kills, is_over)) for _ in range(2)]
        waiting = [task.name for task in tasks if isinstance(task.work, WaitWork)]
        dice.shuffle(waiting)
        for number, name in enumerate(waiting):
            key = RequestKey("me", "SignalTask", f"{number}", b"")
            await steering.signal_task(store, workflow_id, name, "go", key)
        async with asyncio.timeout(60):
            state = await until_ended(db, workflow_id, committed)
        is_over.set()
        await asyncio.gather(*engines)

        told = [
            (number_of_task(row["subject"]), row["what"])
            for row in await db.fetch(_TOLD, workflow_id=workflow_id)
        ]

    assert state == "SUCCEEDED"
    assert Counter(told) == Counter(
        (number, what) for number in range(60) for what in ("running", "succeeded")
    )
    ended = [number for number, what in told if what == "succeeded"]
    names = {task.name: number for number, task in enumerate(tasks)}
    for number, task in enumerate(tasks):
        started = told.index((number, "running"))
        for parent in task.depends_on:
            assert told.index((names[parent], "succeeded")) < started
    assert len(ended) == 60
    assert n_kills["killed"]
