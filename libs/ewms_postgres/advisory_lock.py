"""Locks in the database that go with the session that holds them."""

from __future__ import annotations

import hashlib
from typing import Any

import asyncpg

from ewms_postgres.errors import LockNotAvailable, translated

__all__ = ["hold_advisory_lock"]


async def hold_advisory_lock(connection: asyncpg.Connection[Any], name: str) -> None:
    """Wait for the lock of that name, however long; it is held until the connection closes.

    The wait is cut in slices: one statement that waits for days would hold its snapshot as long,
    and with it vacuum and concurrent index builds, and would not notice a dead server.
    """
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    key = int.from_bytes(digest, "big", signed=True)
    with translated(connection):
        await connection.execute("SET lock_timeout = '5s'")
    while True:
        try:
            with translated(connection):
                await connection.execute("SELECT pg_advisory_lock($1)", key)
            return
        except LockNotAvailable:
            continue
