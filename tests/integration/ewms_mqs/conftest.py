"""An MQS on a real socket and a real database, and a client that speaks to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import pytest
from mqs_client import Client

from ewms.mqs.v1.event_service_pb2_grpc import EventServiceStub
from ewms.mqs.v1.mqs_service_pb2_grpc import MqsServiceStub
from ewms_mqs.config import MqsSettings
from ewms_mqs.server import mqs_server
from ewms_rpc.channel import open_channel

Start = Callable[..., Awaitable[Client]]


@asynccontextmanager
async def connected(settings: MqsSettings) -> AsyncIterator[Client]:
    async with mqs_server(settings) as running, open_channel(running.address) as channel:
        yield Client(running, MqsServiceStub(channel), EventServiceStub(channel))


@pytest.fixture
async def start(database_url: str) -> AsyncIterator[Start]:
    """Starts MQS servers on the test's database."""
    async with AsyncExitStack() as stack:

        async def start_one(**settings: object) -> Client:
            chosen = MqsSettings(
                **{"database": database_url, "listen": "127.0.0.1:0", "log_level": "INFO"}
                | settings
            )
            return await stack.enter_async_context(connected(chosen))

        yield start_one


@pytest.fixture
async def client(start: Start) -> Client:
    """A client of an MQS with short leases."""
    return await start(lease=timedelta(seconds=2))
