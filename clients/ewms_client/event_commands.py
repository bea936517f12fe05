"""The commands that move events between files and queues. An event is acknowledged only once its
file is on the disk; an event that is delivered twice in one run is written once.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Annotated

import typer

from ewms.wms.v1.workflow_pb2 import WORKFLOW_STATE_PAUSED, Workflow
from ewms.wms.v1.workflow_service_pb2 import DeadLetter
from ewms_client.async_client import AsyncClient
from ewms_client.command_files import event_folder, read_file, require_files
from ewms_client.consumer import Consumer
from ewms_client.delivery import Delivery
from ewms_client.errors import ClientError, DeliveryLost, WaitTimeout
from ewms_client.event_files import EventFolder, safe_name
from ewms_client.events import Event
from ewms_client.resource_tables import clock
from ewms_client.resource_tables import dead_letters as dead_letter_table
from ewms_client.terminal import (
    WMS_DEFAULT,
    Alias,
    Json,
    Wms,
    WorkflowId,
    print_json,
    print_table,
    print_text,
    run,
    say,
)

__all__ = ["consume", "dead_letters", "publish"]

_FILENAME = "filename"


def publish(
    workflow: WorkflowId,
    alias: Alias,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH…", help="Files, one event each.")],
    wms: Wms = WMS_DEFAULT,
    as_json: Json = False,
) -> None:
    """Send each file as one event, with its name in the header `filename`.

    A queue that is not granted yet is waited for; what for is said on stderr, but not with --json.
    """

    async def events() -> AsyncIterator[Event]:
        for path in paths:
            yield Event(await asyncio.to_thread(read_file, path), {_FILENAME: path.name})

    async def command(client: AsyncClient) -> None:
        await asyncio.to_thread(require_files, paths)
        waiting = None if as_json else _WaitingTold(alias)
        n_events = await client.publish(workflow, alias, events(), on_waiting=waiting)
        print_text(f'{{"n_events": {n_events}}}' if as_json else f"{n_events} events published")

    run(wms, as_json, command)


def consume(
    workflow: WorkflowId,
    alias: Alias,
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="Where the files go.")],
    count: Annotated[
        int | None, typer.Option("--count", min=1, help="How many. Default: until drained.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Seconds, after which it ends with code 7.")
    ] = None,
    wms: Wms = WMS_DEFAULT,
    as_json: Json = False,
) -> None:
    """Write events as files, print their paths, and acknowledge each once it is on the disk.

    A file is named by its event's header `filename`, with a number if that is taken, or else by the
    event's id.
    """

    async def command(client: AsyncClient) -> None:
        writing = _Writing(await asyncio.to_thread(event_folder, to), as_json)
        waiting = None if as_json else _WaitingTold(alias)
        try:
            async with asyncio.timeout(timeout):
                while count is None or writing.n_written < count:
                    left = None if count is None else count - writing.n_written
                    consumer = client.consume(workflow, alias, count=left, on_waiting=waiting)
                    if await writing.drain(consumer):
                        break
        except TimeoutError:
            raise WaitTimeout(f"{writing.n_written} events within {timeout:g} s") from None
        if count is not None and writing.n_written < count:
            raise ClientError(f"the queue is drained after {writing.n_written} of {count} events")

    run(wms, as_json, command)


class _WaitingTold:
    """Says on stderr what a queue that is not granted waits for, again only as that changes."""

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._told = ""

    def __call__(self, workflow: Workflow) -> None:
        if workflow.state == WORKFLOW_STATE_PAUSED:
            reason = "the workflow is paused"
        else:
            reason = workflow.pending_reason or "the workflow is pending"
        if reason == self._told:
            return
        self._told = reason
        again = clock(workflow.retry_time)
        when = f" (asks again at {again})" if again else ""
        say(f"ewms: queue {self._alias} is not granted yet: {reason}{when}")


class _Writing:
    """Deliveries on their way into files."""

    def __init__(self, folder: EventFolder, as_json: bool) -> None:
        self.n_written = 0
        self._folder, self._as_json = folder, as_json
        self._event_ids: set[str] = set()

    async def drain(self, consumer: Consumer) -> bool:
        """Write and acknowledge what comes. True: the queue is drained."""
        acknowledged: set[asyncio.Future[None]] = set()
        async with consumer as deliveries:
            async for delivery in deliveries:
                if delivery.event_id not in self._event_ids:
                    await self._write(delivery)
                ack = asyncio.ensure_future(delivery.ack())
                acknowledged.add(ack)
                ack.add_done_callback(acknowledged.discard)
                ack.add_done_callback(_tell_if_lost)
            await asyncio.gather(*acknowledged, return_exceptions=True)
        return consumer.is_drained

    async def _write(self, delivery: Delivery) -> None:
        name = safe_name(delivery.headers.get(_FILENAME), delivery.event_id)
        # Shielded: cancelled between the write and the note of it, it would be written twice.
        path = await asyncio.shield(asyncio.to_thread(self._folder.store, name, delivery.payload))
        self._event_ids.add(delivery.event_id)
        self.n_written += 1
        if self._as_json:
            told = {"event_id": delivery.event_id, "path": str(path)}
            print_text(json.dumps(told, ensure_ascii=False))
        else:
            print_text(str(path))


def _tell_if_lost(ack: asyncio.Future[None]) -> None:
    if not ack.cancelled() and isinstance(ack.exception(), DeliveryLost):
        say(f"ewms: {ack.exception()}; its event may come again")


def dead_letters(
    workflow: WorkflowId,
    alias: Alias,
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID…]", help="These alone. Default: all.")
    ] = None,
    requeue: Annotated[
        bool, typer.Option("--requeue", help="Put them back into the queue.")
    ] = False,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="Write their payloads as files.")
    ] = None,
    wms: Wms = WMS_DEFAULT,
    as_json: Json = False,
) -> None:
    """List events that were delivered too often, write them as files, or put them back."""

    async def command(client: AsyncClient) -> None:
        if to is not None or not requeue:
            every = [letter async for letter in client.dead_letters(workflow, alias)]
            letters = [letter for letter in every if not ids or letter.dead_letter_id in ids]
            if to is not None:
                folder = await asyncio.to_thread(event_folder, to)
                await asyncio.to_thread(_write_letters, folder, letters)
            elif as_json:
                for letter in letters:
                    print_json(letter)
            else:
                print_table(*dead_letter_table(letters))
        if requeue:
            n_requeued = await client.requeue(workflow, alias, ids or ())
            print_text(f'{{"n_requeued": {n_requeued}}}' if as_json else f"{n_requeued} put back")

    run(wms, as_json, command)


def _write_letters(folder: EventFolder, letters: Iterable[DeadLetter]) -> None:
    for letter in letters:
        path = folder.store(
            safe_name(letter.headers.get(_FILENAME), letter.event_id), letter.payload
        )
        print_text(str(path))
        if letter.size > len(letter.payload):
            say(f"ewms: {path} holds the first {len(letter.payload)} of {letter.size} bytes")
