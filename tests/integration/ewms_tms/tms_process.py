"""A TMS as a process of its own, to be killed; and what its workers leave behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

_COMMAND = "from ewms_tms.commands import app; app(['tms', *__import__('sys').argv[1:]])"


class TmsProcess:
    """`ewms tms` on a data folder."""

    def __init__(self, data: Path, wms: str, pilot: str, slots: int = 4) -> None:
        self.data, self.wms, self.pilot, self.slots = data, wms, pilot, slots
        self.process: asyncio.subprocess.Process | None = None

    async def begin(self, **environment: str) -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _COMMAND,
            "--wms", self.wms, "--data", str(self.data), "--slots", str(self.slots),
            "--pilot", self.pilot, "--schedd", "local", "--schedd", "osg",
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, **environment},
        )  # fmt: skip

    async def watching(self) -> str:
        assert self.process is not None
        assert self.process.stdout is not None
        async with asyncio.timeout(20):
            return (await self.process.stdout.readline()).decode().strip()

    async def end(self, number: signal.Signals = signal.SIGKILL) -> int:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(20):
            return await self.process.wait()
