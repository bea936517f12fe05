"""The client for code without asyncio: the methods of `AsyncClient`, blocking, and plain iterators.
It is the async client, run in a thread of its own; it may be used from several threads.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AbstractContextManager
from datetime import datetime
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from ewms_client.async_client import AsyncClient
from ewms_client.consumer import Consumer
from ewms_client.delivery import Delivery
from ewms_client.events import Event
from ewms_client.portal import Portal
from ewms_client.queues import Waiting

__all__ = ["BlockingConsumer", "BlockingDelivery", "Client"]

_P = ParamSpec("_P")
_T = TypeVar("_T")
_END: Any = object()


def _blocking(
    method: Callable[Concatenate[AsyncClient, _P], Coroutine[Any, Any, _T]],
) -> Callable[Concatenate[Client, _P], _T]:
    def call(self: Client, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return self._portal.call(method(self._client, *args, **kwargs))

    functools.update_wrapper(call, method)
    return call


def _iterating(
    method: Callable[Concatenate[AsyncClient, _P], AsyncIterator[_T]],
) -> Callable[Concatenate[Client, _P], Iterator[_T]]:
    def iterate(self: Client, /, *args: _P.args, **kwargs: _P.kwargs) -> Iterator[_T]:
        return self._portal.iterate(method(self._client, *args, **kwargs))

    functools.update_wrapper(iterate, method)
    return iterate


class BlockingDelivery:
    """A delivery whose `ack` and `nack` return when they are durable; else as `Delivery`."""

    def __init__(self, delivery: Delivery, portal: Portal) -> None:
        self._delivery, self._portal = delivery, portal

    @property
    def delivery_id(self) -> str:
        """Id of this delivery."""
        return self._delivery.delivery_id

    @property
    def event_id(self) -> str:
        """Id of the event: the same each time that it is delivered."""
        return self._delivery.event_id

    @property
    def payload(self) -> bytes:
        """The event itself."""
        return self._delivery.payload

    @property
    def headers(self) -> Mapping[str, str]:
        """What its publisher put beside it."""
        return self._delivery.headers

    @property
    def n_deliveries(self) -> int:
        """1 on the first delivery of the event."""
        return self._delivery.n_deliveries

    @property
    def publish_time(self) -> datetime:
        """When the event was published."""
        return self._delivery.publish_time

    def ack(self) -> None:
        """Say that the event is done. DeliveryLost: the lease had run out; it comes again."""

        async def settle() -> None:
            await self._delivery.ack()

        self._portal.call(settle())

    def nack(self, *, requeue: bool = True, reason: str = "") -> None:
        """Give the event back: to be delivered again, or else to the dead letters."""

        async def settle() -> None:
            await self._delivery.nack(requeue=requeue, reason=reason)

        self._portal.call(settle())


class BlockingConsumer(AbstractContextManager["BlockingConsumer"]):
    """A context manager and, inside it, an iterator of deliveries; else as `Consumer`."""

    def __init__(self, consumer: Consumer, portal: Portal) -> None:
        self._consumer, self._portal = consumer, portal

    def __enter__(self) -> Self:
        self._portal.call(self._consumer.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._portal.call(self._consumer.__aexit__(kind, error, traceback))

    def __iter__(self) -> Iterator[BlockingDelivery]:
        return self

    def __next__(self) -> BlockingDelivery:
        async def step() -> Delivery:
            return await anext(self._consumer, _END)

        delivery = self._portal.call(step())
        if delivery is _END:
            raise StopIteration
        return BlockingDelivery(delivery, self._portal)


class Client:
    """A client of the WMS at `wms`, `HOST:PORT`. Use it with `with`, or close it.

    Parameters are those of `AsyncClient`.
    """

    def __init__(
        self,
        wms: str | None = None,
        *,
        insecure: bool = False,
        root_certificates: bytes | None = None,
        mqs_root_certificates: bytes | None = None,
        timeout: float = 30.0,
        patience: float = 600.0,
    ) -> None:
        async def connect() -> AsyncClient:
            # Channels of grpc.aio belong to the loop that they are made in.
            return AsyncClient(
                wms,
                insecure=insecure,
                root_certificates=root_certificates,
                mqs_root_certificates=mqs_root_certificates,
                timeout=timeout,
                patience=patience,
            )

        self._portal = Portal()
        self._client = self._portal.call(connect())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all channels and end the thread."""
        self._portal.call(self._client.close())
        self._portal.close()

    submit = _blocking(AsyncClient.submit)
    get_workflow = _blocking(AsyncClient.get_workflow)
    list_workflows = _iterating(AsyncClient.list_workflows)
    history = _iterating(AsyncClient.history)
    finish = _blocking(AsyncClient.finish)
    abort = _blocking(AsyncClient.abort)
    pause = _blocking(AsyncClient.pause)
    resume = _blocking(AsyncClient.resume)
    update = _blocking(AsyncClient.update)
    get_task_directive = _blocking(AsyncClient.get_task_directive)
    list_task_directives = _iterating(AsyncClient.list_task_directives)
    add_workers = _blocking(AsyncClient.add_workers)
    get_taskforce = _blocking(AsyncClient.get_taskforce)
    list_taskforces = _iterating(AsyncClient.list_taskforces)
    public_queues = _blocking(AsyncClient.public_queues)
    translate = _blocking(AsyncClient.translate)
    signal = _blocking(AsyncClient.signal)
    close_queue = _blocking(AsyncClient.close_queue)
    dead_letters = _iterating(AsyncClient.dead_letters)
    requeue = _blocking(AsyncClient.requeue)
    watch = _iterating(AsyncClient.watch)
    watch_workflows = _iterating(AsyncClient.watch_workflows)
    watch_taskforces = _iterating(AsyncClient.watch_taskforces)
    wait_for = _blocking(AsyncClient.wait_for)

    def publish(
        self,
        workflow_id: str,
        alias: str,
        events: Iterable[bytes | Event],
        *,
        on_confirmed: Callable[[int], None] | None = None,
        activation_timeout: float | None = 600.0,
        on_waiting: Waiting | None = None,
    ) -> int:
        """As `AsyncClient.publish`. The events may come from an iterator that blocks."""
        return self._portal.call(
            self._client.publish(
                workflow_id,
                alias,
                events if isinstance(events, Sequence) else _drawn_in_threads(events),
                on_confirmed=on_confirmed,
                activation_timeout=activation_timeout,
                on_waiting=on_waiting,
            )
        )

    def consume(
        self,
        workflow_id: str,
        alias: str,
        *,
        count: int | None = None,
        credit: int = 32,
        activation_timeout: float | None = 600.0,
        on_waiting: Waiting | None = None,
    ) -> BlockingConsumer:
        """As `AsyncClient.consume`: `with client.consume(...) as deliveries: for …`."""
        consumer = self._client.consume(
            workflow_id,
            alias,
            count=count,
            credit=credit,
            activation_timeout=activation_timeout,
            on_waiting=on_waiting,
        )
        return BlockingConsumer(consumer, self._portal)


async def _drawn_in_threads(events: Iterable[bytes | Event]) -> AsyncIterator[bytes | Event]:
    iterator = iter(events)
    while (event := await asyncio.to_thread(next, iterator, _END)) is not _END:
        yield event
