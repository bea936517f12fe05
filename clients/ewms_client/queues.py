"""Finds the way to a workflow's public queues, with one channel for each broker. A queue that is
not granted yet is waited for, told by the workflow's watch.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import grpc

from ewms.mqs.v1.event_service_pb2_grpc import EventServiceStub
from ewms.wms.v1 import workflow_pb2, workflow_service_pb2
from ewms_client.channel import connect
from ewms_client.errors import NotFound, QueueGone
from ewms_client.queue_access import QueueAccess
from ewms_client.reconnection import ask_patiently
from ewms_client.view import WorkflowView
from ewms_client.waiting import wait_until
from ewms_client.watching import WatchEvent
from ewms_rpc.tls import ClientTls

if TYPE_CHECKING:
    from ewms.mqs.v1.event_service_pb2_grpc import EventServiceAsyncStub

__all__ = ["Brokers", "Waiting", "find_queue"]

_ListQueues = Callable[[str], Awaitable[Sequence[workflow_service_pb2.PublicQueue]]]
_GetWorkflow = Callable[[str], Awaitable[workflow_pb2.Workflow]]
Waiting = Callable[[workflow_pb2.Workflow], None]
_Watch = Callable[[str], AsyncGenerator[WatchEvent, None]]


class Brokers:
    """Channels to brokers, by address; opened at first use, closed together.

    Parameters
    ----------
    tls
        For those whose queues say that they speak it.
    """

    def __init__(self, tls: ClientTls) -> None:
        self._tls = tls
        self._channels: dict[tuple[str, bool], grpc.aio.Channel] = {}

    def stub_at(self, address: str, is_tls: bool) -> EventServiceAsyncStub:
        """The EventService at `HOST:PORT`."""
        key = (address, is_tls)
        if key not in self._channels:
            self._channels[key] = connect(
                address, insecure=not is_tls, tls=self._tls if is_tls else None
            )
        return EventServiceStub(self._channels[key])

    @property
    def trusted_ca(self) -> bytes | None:
        """The CA that brokers are of; None for any that everybody trusts."""
        return self._tls.root_certificates

    async def close(self) -> None:
        """Close them all. Calls in flight are cancelled."""
        await asyncio.gather(*(channel.close() for channel in self._channels.values()))


async def find_queue(
    workflow_id: str,
    alias: str,
    list_queues: _ListQueues,
    watch: _Watch,
    brokers: Brokers,
    timeout: float | None,
    patience: float,
    get_workflow: _GetWorkflow,
    on_waiting: Waiting | None = None,
) -> QueueAccess:
    """The way into a public queue, as soon as it is granted.

    While it is not, `on_waiting` is given the workflow at each change of it. A WMS that is away is
    asked again, for as long as the patience lasts.

    NotFound: the workflow has no public queue of this alias. WaitTimeout: it is not granted after
    `timeout` seconds. WorkflowEnded: it never will be. QueueGone: it was, and is released.
    UnsupportedBroker.
    """

    async def look_up() -> workflow_service_pb2.PublicQueue:
        for queue in await list_queues(workflow_id):
            if queue.alias == alias:
                if queue.is_activated and not queue.auth_token:
                    # Only what is released has no token.
                    raise QueueGone(await get_workflow(workflow_id), alias)
                return queue
        raise NotFound("public queue", alias, f"{workflow_id} has no public queue {alias!r}")

    def is_granted(view: WorkflowView) -> bool:
        if alias in view.queues and view.queues[alias].is_activated:
            return True
        if on_waiting is not None and not view.is_terminal:
            on_waiting(view.workflow)
        return False

    queue = await ask_patiently(look_up, f"looking for {alias}", patience)
    if not queue.is_activated:
        await wait_until(watch(workflow_id), is_granted, timeout)
        queue = await ask_patiently(look_up, f"looking for {alias}", patience)
    return QueueAccess(queue, look_up, brokers.stub_at, brokers.trusted_ca)
