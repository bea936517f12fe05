"""RabbitMQ's management API, as far as the MQS uses it: queues, policy, dead letters, alarms.

Guarantees a deadline on each call, and that every failure is BrokerAway or BrokerRefuses with words
that name the cause. Never logs the password.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp

__all__ = ["BrokerAway", "BrokerRefuses", "Management", "QueueSample", "open_management"]

_TIMEOUT = aiohttp.ClientTimeout(total=20, connect=5)
_PAGE = 500
_MAX_CALLS = 16
_COLUMNS = (
    "name,messages_ready,messages_unacknowledged,consumers,message_stats.publish,message_stats.ack"
)
_NO_CONTENT = 204
_NOT_FOUND = 404


class BrokerAway(Exception):
    """The management API does not answer; what was asked may have happened."""


class BrokerRefuses(Exception):
    """The management API says no, in words that name the cause."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


@dataclass(frozen=True, slots=True)
class QueueSample:
    """A queue as the broker last counted it. `published` and `acked` begin anew with its start.

    One that was just declared `is_counted` not yet: nothing is known of what is in it.
    """

    name: str
    ready: int
    unacked: int
    n_consumers: int
    published: int
    acked: int
    is_counted: bool = True


class Management:
    """The API of one broker, for one virtual host."""

    def __init__(self, session: aiohttp.ClientSession, url: str, vhost: str) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._vhost = quote(vhost, safe="")

    async def declare_queue(self, name: str) -> None:
        """Have a durable quorum queue, just as the field's own client declares it."""
        await self._ask(
            "PUT",
            self._queue(name),
            {"durable": True, "auto_delete": False, "arguments": {"x-queue-type": "quorum"}},
        )

    async def delete_queue(self, name: str) -> None:
        """Have no such queue, whatever is in it."""
        try:
            await self._ask("DELETE", self._queue(name))
        except BrokerRefuses as refusal:
            if refusal.status != _NOT_FOUND:
                raise

    async def has_queue(self, name: str) -> bool:
        """Whether there is such a queue."""
        try:
            await self._ask("GET", f"{self._queue(name)}?columns=name")
        except BrokerRefuses as refusal:
            if refusal.status != _NOT_FOUND:
                raise
            return False
        return True

    async def declare_exchange(self, name: str) -> None:
        """Have a durable fanout exchange."""
        path = f"exchanges/{self._vhost}/{quote(name, safe='')}"
        await self._ask("PUT", path, {"type": "fanout", "durable": True})

    async def bind(self, exchange: str, queue: str) -> None:
        """Have what comes to the exchange go to the queue."""
        path = f"bindings/{self._vhost}/e/{quote(exchange, safe='')}/q/{quote(queue, safe='')}"
        await self._ask("POST", path, {"routing_key": "", "arguments": {}})

    async def set_policy(self, name: str, pattern: str, definition: Mapping[str, object]) -> None:
        """Have a policy on the queues whose names match."""
        body = {"pattern": pattern, "apply-to": "queues", "definition": definition, "priority": 0}
        await self._ask("PUT", f"policies/{self._vhost}/{quote(name, safe='')}", body)

    async def version(self) -> tuple[int, ...]:
        """The broker's version: major and minor."""
        text = str(
            (await self._ask("GET", "overview?columns=rabbitmq_version"))["rabbitmq_version"]
        )
        return tuple(int(part) for part in text.split(".")[:2])

    async def queues(self) -> list[QueueSample]:
        """All queues of the virtual host, as they were last counted."""
        found: list[QueueSample] = []
        page = 1
        while True:
            answer = await self._ask(
                "GET",
                f"queues/{self._vhost}?page={page}&page_size={_PAGE}&columns={_COLUMNS}",
            )
            found += map(_sample_from, answer["items"])
            if page >= int(answer["page_count"]):
                return found
            page += 1

    async def alarms(self) -> str:
        """What the broker's nodes are short of, in words; empty when of nothing."""
        nodes = await self._ask("GET", "nodes?columns=name,running,mem_alarm,disk_free_alarm")
        return "; ".join(
            f"{node['name']} is short of {what}"
            for node in nodes
            for key, what in (("mem_alarm", "memory"), ("disk_free_alarm", "disk space"))
            if node.get(key)
        )

    def _queue(self, name: str) -> str:
        return f"queues/{self._vhost}/{quote(name, safe='')}"

    async def _ask(self, method: str, path: str, body: object = None) -> Any:
        try:
            async with self._session.request(
                method, f"{self._url}/api/{path}", json=body
            ) as answer:
                text = await answer.text()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            words = str(error) or type(error).__name__
            raise BrokerAway(f"RabbitMQ's management API: {words}") from error
        if answer.status >= 500:
            raise BrokerAway(f"RabbitMQ's management API: HTTP {answer.status}")
        if answer.status >= 400:
            raise BrokerRefuses(answer.status, f"RabbitMQ: {_reason_in(text, answer.status)}")
        try:
            return None if answer.status == _NO_CONTENT or not text else json.loads(text)
        except ValueError as error:
            raise BrokerAway("RabbitMQ's management API: no JSON") from error


@asynccontextmanager
async def open_management(
    url: str, vhost: str, user: str, password: str, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Management]:
    """The API for as long as the block runs; it connects with the first call."""
    async with aiohttp.ClientSession(
        headers={"Authorization": aiohttp.encode_basic_auth(user, password)},
        timeout=_TIMEOUT,
        connector=aiohttp.TCPConnector(limit=_MAX_CALLS, ssl=tls or True),
    ) as session:
        yield Management(session, url, vhost)


def _sample_from(item: Mapping[str, Any]) -> QueueSample:
    stats = item.get("message_stats") or {}
    return QueueSample(
        item["name"],
        int(item.get("messages_ready") or 0),
        int(item.get("messages_unacknowledged") or 0),
        int(item.get("consumers") or 0),
        int(stats.get("publish") or 0),
        int(stats.get("ack") or 0),
        item.get("messages_ready") is not None and item.get("messages_unacknowledged") is not None,
    )


def _reason_in(text: str, status: int) -> str:
    try:
        reason = json.loads(text).get("reason")
    except (ValueError, AttributeError):
        reason = None
    return str(reason or f"HTTP {status}")[:500]
