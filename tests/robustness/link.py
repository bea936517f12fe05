"""A TCP proxy between clients and servers, whose connections can be cut and stalled.

With several backends it takes the next one that accepts, as a load balancer would. It knows nothing
of what it carries.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

__all__ = ["Link"]

_CHUNK = 64 * 1024
_CONNECT_SECONDS = 2.0


class Link:
    """Listens on a free port of loopback, `address`, for as long as its block runs."""

    def __init__(self, backends: Sequence[str]) -> None:
        self.address = ""
        self._backends = list(backends)
        self._turn = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.address = f"{host}:{port}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.flow()
        self.cut()

    @property
    def n_connections(self) -> int:
        """How many connections there are, counted at both ends."""
        return len(self._writers)

    def cut(self) -> None:
        """Break every connection, as a router that is switched off."""
        for writer in list(self._writers):
            writer.transport.abort()

    def stall(self) -> None:
        """Let no byte through, and break nothing, until `flow`."""
        self._flowing.clear()

    def flow(self) -> None:
        """Let bytes through again."""
        self._flowing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            backend = await self._connect()
            if backend is None:
                return
            self._writers.add(backend[1])
            try:
                await asyncio.gather(self._pump(reader, backend[1]), self._pump(backend[0], writer))
            finally:
                self._writers.discard(backend[1])
                backend[1].transport.abort()
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for _ in self._backends:
            host, _, port = self._backends[self._turn % len(self._backends)].partition(":")
            self._turn += 1
            with suppress(OSError):
                async with asyncio.timeout(_CONNECT_SECONDS):
                    return await asyncio.open_connection(host, int(port))
        return None

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
