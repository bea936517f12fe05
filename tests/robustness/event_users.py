"""Who publishes a story's events and who consumes its results: through our own client, which goes
on by itself when a server restarts; each event is recorded, and what became of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Set
from contextlib import suppress
from typing import Any

from event_validation import origin_of
from history import Acknowledged, Consumed, History, Offered
from plans import Plan

from ewms_client import AsyncClient, DeliveryLost, Event, Unavailable

__all__ = ["INPUT", "OUTPUT", "EventUsers"]

INPUT, OUTPUT = "in", "out"


class EventUsers:
    """The publisher and the consumer of one workflow, by the story's name."""

    def __init__(
        self, client: AsyncClient, history: History, name: str, workflow_id: str, plan: Plan
    ) -> None:
        self._client, self._history, self._name = client, history, name
        self._workflow_id, self._plan = workflow_id, plan
        self._confirmed: set[str] = set()
        self._arrived: set[str] = set()
        self._has_arrived = asyncio.Event()

    @property
    def missing(self) -> Set[str]:
        """What was confirmed and has not come back yet."""
        return self._confirmed - self._arrived

    async def next_arrival(self, within: float) -> bool:
        """Wait until one more result arrives; whether that happened in so many seconds."""
        self._has_arrived.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._has_arrived.wait()
        return self._has_arrived.is_set()

    async def publish(self) -> None:
        """Publish all events of the story, until the last one is confirmed."""
        events = [
            Event(
                f"{self._name}.{number}".encode(), event_id=f"{self._name}.{number}.id"
            )
            for number in range(self._plan.n_events)
        ]  # fmt: skip
        n_confirmed = 0
        while n_confirmed < len(events):
            waiting = events[n_confirmed:]
            before = n_confirmed

            def note(count: int, before: int = before) -> None:
                nonlocal n_confirmed
                for event in events[n_confirmed : before + count]:
                    self._offered(event, is_confirmed=True)
                n_confirmed = before + count

            with suppress(Unavailable):
                await self._client.publish(
                    self._workflow_id, INPUT, self._paced(waiting), on_confirmed=note
                )

    async def _paced(self, events: list[Event]) -> AsyncIterator[Event]:
        for event in events:
            self._offered(event, is_confirmed=False)
            yield event
            await asyncio.sleep(self._plan.pace)

    def _offered(self, event: Event, *, is_confirmed: bool) -> None:
        payload = event.payload.decode()
        if is_confirmed:
            self._confirmed.add(payload)
        self._history.add(
            Offered(
                client=f"{self._name}/publisher", workflow_id=self._workflow_id, alias=INPUT,
                event_id=event.event_id, payload=payload, is_confirmed=is_confirmed,
            )
        )  # fmt: skip

    async def consume(self) -> None:
        """Until the queue is drained."""
        while True:
            with suppress(Unavailable):
                async with self._client.consume(self._workflow_id, OUTPUT, credit=4) as deliveries:
                    async for delivery in deliveries:
                        await self._take(delivery)
                    return

    async def _take(self, delivery: Any) -> None:
        payload = delivery.payload.decode()
        whose = {
            "client": f"{self._name}/consumer",
            "workflow_id": self._workflow_id,
            "alias": OUTPUT,
            "event_id": delivery.event_id,
            "delivery_id": delivery.delivery_id,
        }
        self._history.add(Consumed(**whose, n_deliveries=delivery.n_deliveries, payload=payload))
        self._arrived.add(origin_of(payload))
        self._has_arrived.set()
        is_lost = False
        try:
            await delivery.ack()
        except DeliveryLost:
            is_lost = True
        self._history.add(Acknowledged(**whose, is_lost=is_lost))
