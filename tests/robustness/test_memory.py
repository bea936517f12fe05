"""Memory stays flat: after a million events, 10,000 workflows and a watcher that never reads, no
process holds 50 MB more than it did after a hundredth of that.

`SOAK_SCALE` scales the numbers. Of PostgreSQL's processes only what each has for itself counts: the
buffers that they share have a size that the settings give.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import pytest
from callers import Caller, Wms
from history import Called, History, Record
from stack import Stack, running_stack
from sweep import processes_in

from ewms.wms.v1 import task_pb2, workflow_service_pb2, workflow_service_pb2_grpc
from ewms_client import AsyncClient, Event
from ewms_rpc.channel import open_channel

SCALE = float(os.environ.get("SOAK_SCALE", "1"))
N_EVENTS = round(1_000_000 * SCALE)
N_WORKFLOWS = round(10_000 * SCALE)
MOST_GROWTH = 50 * 1024 * 1024

_HUNDREDTH = 100
_N_USERS = 4
_EVENT_BYTES = 256
_WORKED_ON_EVERY = 1000


class NoHistory(History):
    """Keeps nothing: what is measured shall be the system's memory, and there is much traffic."""

    def add(self, record: Record) -> None:
        if isinstance(record, Called) and record.code not in ("OK", "UNAVAILABLE"):
            super().add(record)


@pytest.mark.soak
@pytest.mark.timeout(0)
async def test_memory_stays_flat(tmp_path: Path) -> None:
    async with (
        running_stack(tmp_path, tms_options=("--schedd", "local")) as stack,
        Wms(stack.addresses) as wms,
        open_channel(stack.addresses[0]) as channel,
        AsyncClient(stack.addresses[0]) as client,
    ):
        caller = Caller(wms, NoHistory(tmp_path / "history.jsonl"), "memory")
        watching = asyncio.create_task(never_read(channel))
        # Both queues are consumed here; nobody serves the schedd of the one, so all events of it
        # come back as they went in, as fast as the broker can. The other has a worker.
        fast = await submit(caller, "osg", "fast")
        slow = await submit(caller, "local", "slow")
        before: dict[str, int] = {}
        for part in range(_HUNDREDTH):
            async with asyncio.TaskGroup() as group:
                group.create_task(pass_events(client, fast, "in", N_EVENTS // _HUNDREDTH))
                some = max(1, N_EVENTS // _HUNDREDTH // _WORKED_ON_EVERY)
                group.create_task(pass_events(client, slow, "out", some))
                for user in range(_N_USERS):
                    numbers = range(user, N_WORKFLOWS // _HUNDREDTH, _N_USERS)
                    group.create_task(live_and_end(caller, part, numbers))
            before = before or memory(stack)
        growth = {name: size - before.get(name, size) for name, size in memory(stack).items()}
        watching.cancel()
    assert {name: size for name, size in growth.items() if size > MOST_GROWTH} == {}


async def never_read(channel: Any) -> None:
    """Watch everything and take nothing; when the server ends that, once more."""
    stub = workflow_service_pb2_grpc.WorkflowServiceStub(channel)
    while True:
        call: Any = stub.WatchWorkflows(workflow_service_pb2.WatchWorkflowsRequest())
        with suppress(Exception):
            await call.code()


async def submit(caller: Caller, location: str, name: str) -> str:
    """A workflow from the public queue `in` to the public queue `out`."""
    request = workflow_service_pb2.SubmitWorkflowRequest(
        public_queue_aliases=["in", "out"],
        tasks=[
            task_pb2.TaskSpec(
                cluster_locations=[location],
                input_queue_aliases=["in"],
                output_queue_aliases=["out"],
                task_image="docker://docker.io/library/debian:bookworm-slim",
                task_args="cp {{INFILE}} {{OUTFILE}}",
                n_workers=1,
                worker_config=task_pb2.WorkerConfig(worker_memory="512M"),
            )
        ],
        request_id=f"submit-{name}",
    )
    answer = await caller.ask("workflows", "SubmitWorkflow", request)
    return str(answer.workflow.workflow_id)


async def pass_events(client: AsyncClient, workflow_id: str, back: str, n: int) -> None:
    """Publish events to `in` and acknowledge as many from the queue where they come back."""

    async def some() -> AsyncIterator[Event]:
        for _ in range(n):
            yield Event(os.urandom(_EVENT_BYTES))

    async def consume() -> None:
        acknowledged = []
        async with client.consume(workflow_id, back, count=n, credit=1000) as deliveries:
            async for delivery in deliveries:
                acknowledged.append(delivery.ack())
            await asyncio.gather(*acknowledged)

    async with asyncio.TaskGroup() as group:
        group.create_task(consume())
        group.create_task(client.publish(workflow_id, "in", some()))


async def live_and_end(caller: Caller, part: int, numbers: range) -> None:
    """Workflows that are submitted and aborted, one after the other."""
    for number in numbers:
        name = f"{part}-{number}"
        workflow_id = await submit(caller, "osg", name)
        request = workflow_service_pb2.AbortWorkflowRequest(
            workflow_id=workflow_id, request_id=f"abort-{name}"
        )
        await caller.ask("workflows", "AbortWorkflow", request)


def memory(stack: Stack) -> dict[str, int]:
    """Bytes of each process: all that is resident, of PostgreSQL's what is its own."""
    sizes = {
        name: psutil.Process(program.pid).memory_info().rss
        for name, program in stack.programs.items()
    }
    names = (f"worker {number}" for number in count())
    for process in processes_in(stack.folder):
        with suppress(psutil.NoSuchProcess):
            if "postgres" in process.name():
                sizes[f"postgres {process.pid}"] = process.memory_full_info().uss
            elif "ewms-pilot" in " ".join(process.cmdline()):
                sizes[next(names)] = process.memory_info().rss
    return sizes
