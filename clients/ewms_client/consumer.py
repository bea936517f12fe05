"""The deliveries of a queue, wherever its events are: over gRPC, or over AMQP with RabbitMQ."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Protocol, Self

from ewms_client.consuming import StreamConsumer
from ewms_client.delivery import Delivery
from ewms_client.queue_access import QueueAccess, amqp_installed

__all__ = ["Consumer"]


class _Way(Protocol):
    """One of the two."""

    @property
    def is_drained(self) -> bool: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    async def __anext__(self) -> Delivery: ...


class Consumer:
    """An async context manager and, inside it, an async iterator of deliveries.

    At most `credit` deliveries are held at a time. It ends after `count` of them, or when the queue
    is drained. Left with an error or without, it waits for the settlements that are on their way.
    """

    def __init__(
        self,
        find_queue: Callable[[], Awaitable[QueueAccess]],
        *,
        count: int | None,
        credit: int,
        name: str,
        patience: float,
    ) -> None:
        self._find_queue, self._name = find_queue, name
        self._count, self._credit, self._patience = count, credit, patience
        self._way: _Way | None = None

    async def __aenter__(self) -> Self:
        way = self._way_into(await self._find_queue())
        self._way = await way.__aenter__()
        return self

    def _way_into(self, queue: QueueAccess) -> _Way:
        if queue.is_on_rabbitmq:
            # AMQP is an extra.
            with amqp_installed(queue):
                from ewms_client.amqp_consuming import AmqpConsumer
            return AmqpConsumer(
                queue,
                count=self._count,
                credit=self._credit,
                name=self._name,
                patience=self._patience,
            )
        return StreamConsumer(
            queue,
            count=self._count,
            credit=self._credit,
            name=self._name,
            patience=self._patience,
        )

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._way is not None:
            await self._way.__aexit__(kind, error, traceback)

    @property
    def is_drained(self) -> bool:
        """Whether the queue is drained: nothing comes any more."""
        return self._way is not None and self._way.is_drained

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delivery:
        if self._way is None:
            raise RuntimeError("a consumer is used with `async with`")
        return await self._way.__anext__()
