"""A link between an MQS and its database that a test can cut and mend."""

from __future__ import annotations

import asyncio
from typing import Self
from urllib.parse import parse_qs, urlsplit


class DatabaseLink:
    """Passes bytes from a port of its own to the database's server."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket_dir = parse_qs(parts.query).get("host", [""])[0]
        self._host, self._port = parts.hostname or "localhost", parts.port or 5432
        self._login = parts.netloc.rpartition("@")[0]
        self._path = parts.path
        self._is_up = True
        self._writers: set[asyncio.StreamWriter] = set()
        self._passing: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"postgresql://{self._login}@127.0.0.1:{port}{self._path}?sslmode=disable"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()
        self._server.close()
        await asyncio.gather(*self._passing, return_exceptions=True)

    def cut(self) -> None:
        """Break every connection and refuse new ones."""
        self._is_up = False
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def mend(self) -> None:
        """Let connections through again."""
        self._is_up = True

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._is_up:
            writer.transport.abort()
            return
        if self._socket_dir:
            there = await asyncio.open_unix_connection(f"{self._socket_dir}/.s.PGSQL.5432")
        else:
            there = await asyncio.open_connection(self._host, self._port)
        self._writers |= {writer, there[1]}
        for source, sink in ((reader, there[1]), (there[0], writer)):
            task = asyncio.create_task(self._pass(source, sink))
            self._passing.add(task)
            task.add_done_callback(self._passing.discard)

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            return
        finally:
            sink.close()
