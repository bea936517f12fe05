"""`ewms mqs` as a process that tests may stop, kill and start again."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

from mqs_client import Client

from ewms.mqs.v1.event_service_pb2_grpc import EventServiceStub
from ewms.mqs.v1.mqs_service_pb2_grpc import MqsServiceStub
from ewms_rpc.channel import open_channel

EWMS = Path(sys.executable).with_name("ewms")


class MqsProcess:
    """A process, and a client of it."""

    client: Client

    def __init__(self, settings: dict[str, str]) -> None:
        self._environment = {f"EWMS_MQS_{name.upper()}": text for name, text in settings.items()}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            EWMS, "mqs", stdout=asyncio.subprocess.PIPE, env=os.environ | self._environment
        )
        assert self._process.stdout is not None
        line = (await self._process.stdout.readline()).decode()
        assert line.startswith("listening on ")
        self.address = line.split()[-1]
        channel = await self._stack.enter_async_context(open_channel(self.address))
        self.client = Client(None, MqsServiceStub(channel), EventServiceStub(channel))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    async def kill(self) -> None:
        self._process.kill()
        await self._process.wait()

    async def terminate(self) -> int:
        self._process.terminate()
        return await self._process.wait()


# Starts a process on the test's database, with these settings.
Spawn = Callable[..., Awaitable[MqsProcess]]
