"""A server with the probe service, and a client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from probe import SERVICE, Probe, ProbeClient, Served

from ewms_rpc.channel import open_channel
from ewms_rpc.serving import RpcServer, ServerSettings, Service

Serve = Callable[..., AbstractAsyncContextManager[Served]]


@pytest.fixture
def serve() -> Serve:
    """`async with serve(probe, settings...) as served`."""

    @asynccontextmanager
    async def start(
        probe: Probe,
        *,
        error_table: Any = lambda _: None,
        authenticator: Any = None,
        **settings: Any,
    ) -> AsyncIterator[Served]:
        server = RpcServer(
            ServerSettings(**settings),
            [Service(SERVICE, probe)],
            error_table=error_table,
            authenticator=authenticator,
        )
        async with server, open_channel(server.address) as channel:
            yield Served(server, probe, ProbeClient(channel))

    return start
