"""WMS, MQS and TMS as processes on a database of others, and a user who watches events go through.

The parts read all of it from their environment, as services do.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from ewms_client import AsyncClient, Event

EWMS = str(Path(sys.executable).with_name("ewms"))
PATIENCE = 90.0

COPY = {
    "public_queue_aliases": ["input", "output"],
    "tasks": [
        {
            "cluster_locations": ["local"],
            "input_queue_aliases": ["input"],
            "output_queue_aliases": ["output"],
            "task_image": "image",
            "task_args": "cp {{INFILE}} {{OUTFILE}}",
            "n_workers": 2,
        }
    ],
}


async def said(*command: str, env: Mapping[str, str]) -> tuple[int, str]:
    """Run `ewms` to its end: its exit code and what it said."""
    process = await asyncio.create_subprocess_exec(
        EWMS, *command,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=clean() | env,
    )  # fmt: skip
    async with asyncio.timeout(PATIENCE):
        output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


def clean() -> dict[str, str]:
    """This process's environment without what leads to a database."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("EWMS_", "PG")) and name != "HOME"
    }


@dataclass
class OutsideStack:
    """Parts that run, and the user's events."""

    wms: str
    client: AsyncClient
    workflow_id: str = ""

    async def submit(self) -> None:
        """Submit the workflow that copies."""
        self.workflow_id = (await self.client.submit(COPY)).workflow.workflow_id

    async def send(self, *payloads: bytes) -> None:
        """Send events; confirmed when it returns."""
        await self.client.publish(
            self.workflow_id, "input", [Event(p, event_id=p.hex()) for p in payloads]
        )

    async def results(self, count: int) -> list[bytes]:
        """The next results, acknowledged and sorted."""
        found: list[bytes] = []
        async with (
            asyncio.timeout(PATIENCE),
            self.client.consume(self.workflow_id, "output", count=count) as deliveries,
        ):
            async for delivery in deliveries:
                found.append(delivery.payload)
                await delivery.ack()
        return sorted(found)

    async def finish(self) -> None:
        """Finish the workflow and see its workers stopped."""
        await self.client.finish(self.workflow_id)
        await self.client.wait_for(self.workflow_id, lambda view: view.is_settled, timeout=PATIENCE)


@asynccontextmanager
async def outside_stack(folder: Path, env: Mapping[str, str]) -> AsyncIterator[OutsideStack]:
    """The parts, serving, for the length of the block."""
    async with AsyncExitStack() as exits:

        async def start(part: str, *options: str) -> str:
            """Start a part; return the last word of the line by which it says that it serves."""
            with (folder / f"{part}.log").open("ab") as log:
                process = await asyncio.create_subprocess_exec(
                    EWMS, part, *options,
                    stdout=asyncio.subprocess.PIPE, stderr=log, env=clean() | env,
                )  # fmt: skip
            exits.push_async_callback(_end, process)
            assert process.stdout is not None
            async with asyncio.timeout(PATIENCE):
                line = (await process.stdout.readline()).decode()
            assert line, (folder / f"{part}.log").read_text()
            return line.split()[-1]

        mqs = await start("mqs", "--listen", "127.0.0.1:0")
        wms = await start("wms", "--listen", "127.0.0.1:0", "--mqs", mqs)
        await start("tms", "--wms", wms, "--data", str(folder / "tms"), "--schedd", "local")
        yield OutsideStack(wms, await exits.enter_async_context(AsyncClient(wms)))


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    async with asyncio.timeout(30):
        await process.wait()
