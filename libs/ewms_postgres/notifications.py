"""Waking other processes through the database: `NOTIFY` after commits, `LISTEN` for them.

PostgreSQL takes one lock for all commits that notify, so no working transaction ever does. A
process has one `Notifier`, which sends what has gathered since its last round trip, and one
`Listener`. A notification is a hint and may get lost with a connection: `on_gap` says when that
is possible, and what it wakes must look at the tables for what there is to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

import asyncpg
import structlog

from ewms_postgres.backoff import Backoff
from ewms_postgres.connection import held_connection, watch_connection
from ewms_postgres.errors import DatabaseError, DatabaseUnavailable, is_lost, translated

__all__ = ["Listener", "Notifier"]

_log = structlog.get_logger(__name__)

# PostgreSQL's own limits are 8000 bytes, closing zero included, and 63 bytes.
_PAYLOAD_LIMIT = 7900
_CHANNEL_LIMIT = 63
_PENDING_LIMIT = 10_000
_SEND_TIMEOUT = timedelta(seconds=5)
_FLUSH_SECONDS = 1.0
# Who has committed goes on before others hear of it, and what it says meanwhile goes along.
_GATHER_SECONDS = 0.001
_PROBE_EVERY = timedelta(seconds=15)
_NOTIFY = (
    "SELECT pg_notify(channel, payload) FROM unnest($1::text[], $2::text[]) AS p (channel, payload)"
)

_Pending = dict[str, dict[str, None]]


class Notifier:
    """Sends notifications on a connection of its own, while its `async with` block runs.

    Parameters
    ----------
    url
        The database's server itself, not a pooler.
    channel_prefix
        Stands before the name of each channel.
    application_name
        Names the connection in `pg_stat_activity`.
    """

    def __init__(
        self, url: str, *, channel_prefix: str = "", application_name: str = "ewms-notifier"
    ) -> None:
        self._url = url
        self._prefix = channel_prefix
        self._application_name = application_name
        self._pending: _Pending = {}
        self._wake = asyncio.Event()
        self._closing = False
        self._sender: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._sender = asyncio.create_task(self._run(), name="notifier")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._sender is None:
            return
        self._closing = True
        self._wake.set()
        try:
            await asyncio.wait([self._sender], timeout=_FLUSH_SECONDS)
        finally:
            self._sender.cancel()
            await asyncio.wait([self._sender])

    def notify(self, channel: str, payload: str = "") -> None:
        """Have a notification sent; returns at once. Call it from the event loop's thread.

        What is pending already is not sent twice. When more than 10,000 different payloads wait
        for one channel, one empty payload takes their place: "look at everything". Raises
        ValueError for a payload over 7900 bytes or a channel's name over 63.
        """
        if len(payload.encode()) > _PAYLOAD_LIMIT:
            raise ValueError(f"a notification carries at most {_PAYLOAD_LIMIT} bytes")
        name = self._prefix + channel
        if not name or len(name.encode()) > _CHANNEL_LIMIT:
            raise ValueError(f"{name!r} is no channel's name of 1 to {_CHANNEL_LIMIT} bytes")
        self._add(name, (payload,))
        self._wake.set()

    def _add(self, channel: str, payloads: Iterable[str]) -> None:
        waiting = self._pending.setdefault(channel, {})
        waiting.update(dict.fromkeys(payloads))
        if len(waiting) > _PENDING_LIMIT:
            self._pending[channel] = {"": None}

    async def _run(self) -> None:
        backoff = Backoff()
        while True:
            try:
                async with held_connection(
                    self._url,
                    application_name=self._application_name,
                    command_timeout=_SEND_TIMEOUT,
                ) as connection:
                    connection.add_termination_listener(lambda _connection: self._wake.set())
                    backoff.reset()
                    await self._send_all(connection)
                    return
            except DatabaseError as error:
                _log.log(backoff.level, "notifications wait for the database", reason=str(error))
            await backoff.wait()

    async def _send_all(self, connection: asyncpg.Connection[Any]) -> None:
        while True:
            if self._pending:
                await self._send(connection)
            if self._closing:
                return
            await self._wake.wait()
            await asyncio.sleep(_GATHER_SECONDS)
            self._wake.clear()
            if is_lost(connection):
                raise DatabaseUnavailable("the connection to the database was lost")

    async def _send(self, connection: asyncpg.Connection[Any]) -> None:
        batch, self._pending = self._pending, {}
        pairs = [(channel, payload) for channel, some in batch.items() for payload in some]
        try:
            with translated(connection):
                await connection.fetch(_NOTIFY, [c for c, _ in pairs], [p for _, p in pairs])
        except BaseException:
            for channel, payloads in batch.items():
                self._add(channel, payloads)
            raise


class Listener:
    """Hands notifications of some channels to a callback, for as long as `run` runs.

    Parameters
    ----------
    url
        The database's server itself, not a pooler.
    channels
        Names of the channels, without the prefix.
    on_notification
        Called with (channel, payload), in the order of the commits. It must return at once.
    on_gap
        Called after each connection, the first one included: anything may have been missed.
    channel_prefix
        Stands before the name of each channel.

    `connected` is set while notifications arrive.
    """

    def __init__(
        self,
        url: str,
        channels: Iterable[str],
        *,
        on_notification: Callable[[str, str], None],
        on_gap: Callable[[], None],
        channel_prefix: str = "",
        application_name: str = "ewms-listener",
    ) -> None:
        self._url = url
        self._channels = {channel_prefix + channel: channel for channel in channels}
        self._on_notification = on_notification
        self._on_gap = on_gap
        self._application_name = application_name
        self.connected = asyncio.Event()

    async def run(self) -> None:
        """Listen until cancelled, connecting again for as long as it takes."""
        backoff = Backoff()
        while True:
            try:
                async with held_connection(
                    self._url, application_name=self._application_name
                ) as connection:
                    with translated(connection):
                        for name in self._channels:
                            await connection.add_listener(name, self._received)
                    backoff.reset()
                    self._report_gap()
                    self.connected.set()
                    await watch_connection(connection, every=_PROBE_EVERY)
            except DatabaseError as error:
                _log.log(backoff.level, "listening waits for the database", reason=str(error))
            finally:
                self.connected.clear()
            await backoff.wait()

    def _received(self, _connection: object, _pid: int, name: str, payload: object) -> None:
        try:
            self._on_notification(self._channels[name], str(payload))
        except Exception:
            _log.exception("a notification's callback failed", channel=name)

    def _report_gap(self) -> None:
        try:
            self._on_gap()
        except Exception:
            _log.exception("the callback for missed notifications failed")
