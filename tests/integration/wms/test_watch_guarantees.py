"""The six guarantees, by name, with writers and watches in two processes at once.

Hypothesis chooses what writers do (which workflows in one transaction, in which process, how much)
and after how many messages each client hangs up and resumes. Memory is kept short, so that watches
fall behind it and read the table as well.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from watch_guarantees import (
    Recording,
    Truth,
    check_atomic,
    check_bookmarkable,
    check_ordered,
    check_reliable,
    check_resumable,
    check_unique,
    whole_revisions,
)
from watched_wms import Process, WatchResponse, prepare, snapshot_of, wms_process

from ewms.wms.v1 import watch_pb2
from ewms_postgres.statements import statement
from wms_grpc.domain.ids import WorkflowId
from wms_grpc.engine.feed import FeedSettings
from wms_grpc.storage import encoded_revisions

N_WORKFLOWS = 3
FEED = statement("""
    SELECT revision, body FROM wms.feed WHERE workflow_id = :workflow_id ORDER BY revision, part
""")


@dataclass(frozen=True)
class Write:
    """One transaction of one process: a revision of each workflow, with so many changes."""

    process: int
    workflows: frozenset[int]
    n_taskforce_rounds: int


@dataclass(frozen=True)
class Client:
    """One client: whom it asks, what it watches, and after how many messages it hangs up."""

    process: int
    workflow: int
    hangs_up_after: tuple[int, ...]
    reads_slowly: bool


writes = st.builds(
    Write,
    process=st.integers(0, 1),
    workflows=st.frozensets(st.integers(0, N_WORKFLOWS - 1), min_size=1),
    n_taskforce_rounds=st.integers(0, 2),
)
clients = st.builds(
    Client,
    process=st.integers(0, 1),
    workflow=st.integers(0, N_WORKFLOWS - 1),
    hangs_up_after=st.lists(st.integers(1, 12), max_size=3).map(tuple),
    reads_slowly=st.booleans(),
)


@pytest.fixture
async def processes(database_url, monkeypatch):
    # Revisions come in several parts, and the trails hold but a few of them.
    monkeypatch.setattr(encoded_revisions, "PART_BYTES", 1500)
    short = FeedSettings(ring_bytes=12_000)
    url = await prepare(database_url)
    async with asyncio.timeout(110), wms_process(url, short) as one, wms_process(url, short) as two:
        yield [one, two]


async def perform(processes: list[Process], ids: list[WorkflowId], write: Write) -> None:
    """Do one write: in id order, as the code under test does by itself."""
    process = processes[write.process]
    chosen = [ids[number] for number in write.workflows]
    async with process.store.revising(chosen) as revisions:
        for revision in revisions.all():
            revision.workflow = replace(
                revision.workflow, priority=(revision.workflow.priority + 1) % 100
            )
            for number in range(write.n_taskforce_rounds):
                status = watch_pb2.Change().taskforce_status
                status.taskforce_uuid = f"TF-{number}"
                status.top_task_errors["x" * 1000] = number
                revision.statuses_changed().CopyFrom(status)


async def watch(
    process: Process, workflow_id: WorkflowId, client: Client, has_last: Callable[[int], bool]
) -> Recording:
    """Watch until the last revision is seen whole, hanging up and resuming on the way."""
    recording = Recording()
    for patience in (*client.hangs_up_after, None):
        recording.begin()
        last = recording.last_whole()
        resume = {} if last is None else {"from_revision": last}
        messages = process.watch(workflow_id, checkpoints=0.1, **resume)
        n_seen = 0
        while not (last is not None and has_last(last)) and n_seen != patience:
            recording.add(await anext(messages))
            n_seen += 1
            last = recording.last_whole()
            if client.reads_slowly:
                await asyncio.sleep(random.uniform(0, 0.005))
        await messages.aclose()
        if last is None:
            # Hung up within the snapshot: there is nothing to resume from, nor to check.
            recording.watches.clear()
    return recording


async def truth_of(process: Process, workflow_id: WorkflowId) -> Truth:
    rows = await process.db.fetch(FEED, workflow_id=workflow_id)
    return whole_revisions(
        [WatchResponse(revision=watch_pb2.WorkflowRevision.FromString(row["body"])) for row in rows]
    )


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    work=st.lists(st.lists(writes, max_size=12), min_size=1, max_size=4),
    watching=st.lists(clients, min_size=1, max_size=5),
)
async def test_ordered_unique_reliable_atomic_resumable_bookmarkable(
    processes: list[Process], work: list[list[Write]], watching: list[Client]
):
    ids = [await processes[0].submit() for _ in range(N_WORKFLOWS)]
    final = {
        number: 1 + sum(number in write.workflows for writer in work for write in writer)
        for number in range(N_WORKFLOWS)
    }

    async def write_all(some: list[Write]) -> None:
        for write in some:
            await perform(processes, ids, write)

    async with asyncio.TaskGroup() as tasks:
        recordings = [
            tasks.create_task(
                watch(
                    processes[client.process],
                    ids[client.workflow],
                    client,
                    lambda revision, client=client: revision >= final[client.workflow],
                )
            )
            for client in watching
        ]
        for writer in work:
            tasks.create_task(write_all(writer))

    for client, task in zip(watching, recordings, strict=True):
        recording = task.result()
        truth = await truth_of(processes[0], ids[client.workflow])
        assert set(truth) == set(range(1, final[client.workflow] + 1))
        check_ordered(recording)
        check_unique(recording)
        check_reliable(recording, truth)
        check_atomic(recording)
        check_resumable(recording, truth, final[client.workflow])
        check_bookmarkable(recording)


async def test_a_client_that_applies_revisions_holds_what_a_new_snapshot_shows(
    processes: list[Process],
):
    workflow_id = await processes[0].submit(n_taskforces=5)
    following = processes[1].watch(workflow_id)
    held = await snapshot_of(following)
    taskforces = {t.taskforce_uuid: t for t in held.taskforces}
    workflow = held.workflow

    async def write(process: Process) -> None:
        for number in range(10):
            await process.change_taskforces(workflow_id, waiting_reason=f"{number} by {process}")
            await process.change(workflow_id, name=f"{number} by {process}")

    async with asyncio.TaskGroup() as tasks:
        for process in processes:
            tasks.create_task(write(process))
        revision = 1
        while revision < 41:
            message = (await anext(following)).revision
            revision = message.revision
            for change in message.changes:
                if change.HasField("workflow"):
                    workflow = change.workflow
                if change.HasField("taskforce"):
                    taskforces[change.taskforce.taskforce_uuid] = change.taskforce
    await following.aclose()

    fresh = processes[0].watch(workflow_id)
    shown = await snapshot_of(fresh)
    await fresh.aclose()
    assert {t.taskforce_uuid: t for t in shown.taskforces} == taskforces
    assert shown.workflow.name == workflow.name


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    work=st.lists(st.lists(writes, max_size=10), min_size=1, max_size=4),
    hangs_up_after=st.lists(st.integers(1, 10), max_size=3),
    reader=st.integers(0, 1),
)
async def test_the_watch_over_all_workflows_is_ordered_unique_reliable_and_resumable(
    processes: list[Process], work: list[list[Write]], hangs_up_after: list[int], reader: int
):
    ids = [await processes[0].submit() for _ in range(N_WORKFLOWS)]
    final = {
        ids[number]: 1 + sum(number in write.workflows for writer in work for write in writer)
        for number in range(N_WORKFLOWS)
    }
    held: dict[str, int] = {}
    token = ""

    def is_done() -> bool:
        return bool(token) and all(held.get(id_, 0) >= last for id_, last in final.items())

    async def follow() -> None:
        nonlocal token
        for patience in (*hangs_up_after, None):
            messages = processes[reader].watch_workflows(checkpoints=0.1, resume_token=token)
            n_seen = 0
            while not is_done() and n_seen != patience:
                message = await anext(messages)
                n_seen += 1
                if message.HasField("snapshot"):
                    assert not token
                    held.update({w.workflow_id: w.revision for w in message.snapshot.workflows})
                if message.HasField("revision") and message.revision.is_last:
                    # The next one of its workflow: never again, never before, none left out.
                    revision = message.revision
                    assert revision.revision == held.get(revision.workflow_id, 0) + 1
                    held[revision.workflow_id] = revision.revision
                token = message.resume_token or token
            await messages.aclose()

    async def write_all(some: list[Write]) -> None:
        for write in some:
            await perform(processes, ids, write)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(follow())
        for writer in work:
            tasks.create_task(write_all(writer))
    assert {id_: held[id_] for id_ in ids} == final
