"""A server that does nothing of its own: the limit that a row of ours is held against.

`python -m benchmarks.bare ROW URL` serves the handlers that the row's module gives, with bytes in
and bytes out, on the same event loop as our servers.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from typing import Any

import asyncpg
import grpc

from ewms_rpc.running import run

__all__ = ["POOL_SIZE", "SERVICE", "Handlers", "bare_pool", "served", "streamed", "table_names"]

SERVICE = "bare"
POOL_SIZE = 16
"""As many connections as a WMS has at most."""

Handlers = dict[str, "grpc.RpcMethodHandler[Any, Any]"]
"""The methods of a bare server, by name."""


def served(handle: Callable[[bytes], Awaitable[bytes]]) -> grpc.RpcMethodHandler[Any, Any]:
    """A method that answers bytes with bytes."""

    async def answer(request: bytes, _context: object) -> bytes:
        return await handle(request)

    return grpc.unary_unary_rpc_method_handler(answer)


def streamed(
    handle: Callable[[bytes, Any], Awaitable[None]],
) -> grpc.RpcMethodHandler[Any, Any]:
    """A method that writes bytes to a stream."""
    return grpc.unary_stream_rpc_method_handler(handle)


def bare_pool(url: str, size: int = POOL_SIZE) -> AbstractAsyncContextManager[Any]:
    """A pool of the driver's own, as fast as it comes."""
    return asyncpg.create_pool(url, min_size=size, max_size=size)  # type: ignore[no-any-return]


async def table_names(pool: Any) -> list[str]:
    """The tables of both schemas that hold workflows, for emptying them."""
    rows = await pool.fetch(
        "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables"
        " WHERE schemaname IN ('wms', 'mqs')"
        " AND tablename NOT IN ('alembic_version', 'feed_state', 'room', 'keys', 'agent')"
        # Those that refer to another table before it.
        " ORDER BY tablename IN ('workflow', 'workflows'), tablename = 'task_directive'"
    )
    return [row["name"] for row in rows]


async def _serve(row: str, url: str, stop: asyncio.Event) -> None:
    module = import_module(f"benchmarks.{row}")
    async with module.bare_handlers(url) as handlers:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        print(f"listening on 127.0.0.1:{port}", flush=True)  # noqa: T201
        await stop.wait()
        await server.stop(None)


if __name__ == "__main__":
    run(lambda stop: _serve(sys.argv[1], sys.argv[2], stop))
