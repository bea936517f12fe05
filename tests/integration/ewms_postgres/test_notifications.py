from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from ewms_postgres.notifications import Listener, Notifier

GAP = ("gap", "")


class Inbox:
    """What a listener handed over, in order; a gap is an entry like any other."""

    def __init__(self) -> None:
        self.entries: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    def on_notification(self, channel: str, payload: str) -> None:
        self.entries.put_nowait((channel, payload))

    def on_gap(self) -> None:
        self.entries.put_nowait(GAP)

    async def next(self) -> tuple[str, str]:
        async with asyncio.timeout(10):
            return await self.entries.get()


@asynccontextmanager
async def listening(
    url: str, *channels: str, inbox: Inbox | None = None
) -> AsyncIterator[tuple[Listener, Inbox]]:
    inbox = inbox or Inbox()
    listener = Listener(
        url,
        channels,
        channel_prefix="ewms_",
        on_notification=inbox.on_notification,
        on_gap=inbox.on_gap,
    )
    running = asyncio.create_task(listener.run())
    try:
        async with asyncio.timeout(10):
            await listener.connected.wait()
        yield listener, inbox
    finally:
        running.cancel()
        await asyncio.wait([running])


@asynccontextmanager
async def cuttable_proxy(url: str) -> AsyncIterator[tuple[str, Callable[[], None]]]:
    """A proxy to the server, and a call after which its present connections say nothing more."""
    forwarding: set[asyncio.Task[None]] = set()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = urlsplit(url)
        folder = parse_qs(address.query).get("host")
        upstream_reader, upstream_writer = (
            await asyncio.open_unix_connection(f"{folder[0]}/.s.PGSQL.5432")
            if folder
            else await asyncio.open_connection(address.hostname, address.port or 5432)
        )
        forwarding.add(asyncio.create_task(forward(reader, upstream_writer)))
        forwarding.add(asyncio.create_task(forward(upstream_reader, writer)))

    def cut() -> None:
        for task in forwarding:
            task.cancel()
        forwarding.clear()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    address = urlsplit(url)
    user = f"{address.username}:{address.password or ''}"
    try:
        yield f"postgresql://{user}@127.0.0.1:{port}{address.path}?sslmode=disable", cut
    finally:
        cut()
        server.close()


async def end_session(url: str, application_name: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        ended = await connection.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = $1 AND datname = current_database()",
            application_name,
        )
        assert len(ended) == 1
    finally:
        await connection.close()


async def test_a_notification_reaches_those_who_listen_to_its_channel(database_url: str) -> None:
    async with (
        listening(database_url, "task", "queue") as (_, inbox),
        Notifier(database_url, channel_prefix="ewms_") as notifier,
    ):
        notifier.notify("other", "unheard")
        notifier.notify("task", "TK-1")
        notifier.notify("queue")
        assert [await inbox.next() for _ in range(3)] == [GAP, ("task", "TK-1"), ("queue", "")]


async def test_what_is_pending_already_is_sent_once(database_url: str) -> None:
    async with (
        listening(database_url, "task") as (_, inbox),
        Notifier(database_url, channel_prefix="ewms_") as notifier,
    ):
        for payload in ("a", "b", "a", "a", "last"):
            notifier.notify("task", payload)
        assert [await inbox.next() for _ in range(4)] == [
            GAP,
            ("task", "a"),
            ("task", "b"),
            ("task", "last"),
        ]


async def test_too_many_pending_become_one_that_means_everything(database_url: str) -> None:
    async with (
        listening(database_url, "task", "queue") as (_, inbox),
        Notifier(database_url, channel_prefix="ewms_") as notifier,
    ):
        for number in range(10_001):
            notifier.notify("task", str(number))
        notifier.notify("queue", "kept")
        assert [await inbox.next() for _ in range(3)] == [GAP, ("task", ""), ("queue", "kept")]


async def test_what_cannot_be_sent_is_refused_at_once(database_url: str) -> None:
    notifier = Notifier(database_url, channel_prefix="ewms_")
    with pytest.raises(ValueError, match="7900 bytes"):
        notifier.notify("task", "ü" * 3951)
    with pytest.raises(ValueError, match="channel"):
        notifier.notify("c" * 59)


async def test_what_is_pending_at_the_end_is_still_sent(database_url: str) -> None:
    async with listening(database_url, "task") as (_, inbox):
        async with Notifier(database_url, channel_prefix="ewms_") as notifier:
            notifier.notify("task", "farewell")
        assert [await inbox.next() for _ in range(2)] == [GAP, ("task", "farewell")]


async def test_a_listener_that_lost_its_session_says_that_it_may_have_missed_something(
    database_url: str,
) -> None:
    async with (
        listening(database_url, "task") as (_, inbox),
        Notifier(database_url, channel_prefix="ewms_") as notifier,
    ):
        assert await inbox.next() == GAP
        await end_session(database_url, "ewms-listener")
        assert await inbox.next() == GAP
        notifier.notify("task", "after")
        assert await inbox.next() == ("task", "after")


async def test_a_callback_that_fails_does_not_stop_the_listener(database_url: str) -> None:
    class Clumsy(Inbox):
        def on_notification(self, channel: str, payload: str) -> None:
            super().on_notification(channel, payload)
            raise RuntimeError

    async with (
        listening(database_url, "task", inbox=Clumsy()) as (_, inbox),
        Notifier(database_url, channel_prefix="ewms_") as notifier,
    ):
        notifier.notify("task", "1")
        assert [await inbox.next() for _ in range(2)] == [GAP, ("task", "1")]
        notifier.notify("task", "2")
        assert await inbox.next() == ("task", "2")


async def test_what_is_notified_before_there_is_a_connection_is_sent_later(
    database_url: str,
) -> None:
    async with listening(database_url, "task") as (_, inbox):
        notifier = Notifier(database_url, channel_prefix="ewms_")
        notifier.notify("task", "early")
        async with notifier:
            assert [await inbox.next() for _ in range(2)] == [GAP, ("task", "early")]


async def test_what_is_notified_while_the_connection_is_lost_is_sent_later(
    database_url: str,
) -> None:
    async with (
        listening(database_url, "task") as (_, inbox),
        Notifier(database_url, channel_prefix="ewms_") as notifier,
    ):
        notifier.notify("task", "before")
        assert [await inbox.next() for _ in range(2)] == [GAP, ("task", "before")]
        await end_session(database_url, "ewms-notifier")
        notifier.notify("task", "after")
        assert await inbox.next() == ("task", "after")


async def test_a_silent_server_is_noticed(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ewms_postgres.notifications._PROBE_EVERY", timedelta(milliseconds=50))
    monkeypatch.setattr("ewms_postgres.connection._PROBE_TIMEOUT", timedelta(milliseconds=200))
    async with cuttable_proxy(database_url) as (url, cut), listening(url, "task") as (_, inbox):
        assert await inbox.next() == GAP
        cut()
        assert await inbox.next() == GAP
