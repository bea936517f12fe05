"""The command `ewms`, run as processes by a test."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

EWMS = Path(sys.executable).with_name("ewms")
COPY = {
    "public_queue_aliases": ["input", "output"],
    "tasks": [
        {
            "cluster_locations": ["local"],
            "input_queue_aliases": ["input"],
            "output_queue_aliases": ["output"],
            "task_image": "/images/copy",
            "task_args": "cp {{INFILE}} {{OUTFILE}}",
            "n_workers": 2,
        }
    ],
}


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


Run = Callable[..., Awaitable[Ended]]


async def ended(process: asyncio.subprocess.Process, stdin: str = "") -> Ended:
    async with asyncio.timeout(20):
        out, err = await process.communicate(stdin.encode())
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


async def start(wms: str, *arguments: object) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        EWMS,
        *map(str, arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"EWMS_WMS": wms},
    )
