"""The client for asyncio: the single calls of `WmsCalls`, and beside them all that lasts: watches,
waiting, publishing and consuming. These go on by themselves when a server restarts.
"""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncGenerator, Callable
from types import TracebackType
from typing import Self

import grpc

from ewms.wms.v1 import taskforce_service_pb2, workflow_service_pb2
from ewms_client.calls import WmsCalls
from ewms_client.channel import connect
from ewms_client.consumer import Consumer
from ewms_client.events import Events
from ewms_client.feeds import TaskforcesEvent, WorkflowsEvent, watch_taskforces, watch_workflows
from ewms_client.publishing import publish_events
from ewms_client.queue_access import QueueAccess
from ewms_client.queues import Brokers, Waiting, find_queue
from ewms_client.trust import Trust
from ewms_client.view import WorkflowView
from ewms_client.waiting import Condition, wait_until
from ewms_client.watching import WatchEvent, watch_workflow

__all__ = ["DEFAULT_WMS", "AsyncClient"]

DEFAULT_WMS = "127.0.0.1:50051"
_WATCH_LIFETIME = 3600.0


class AsyncClient(WmsCalls):
    """A client of the WMS at `wms`, `HOST:PORT`. Use it with `async with`, or close it.

    Parameters
    ----------
    wms
        Where the WMS is. Default: the environment's `EWMS_WMS`, else 127.0.0.1:50051.
    insecure
        Plain text to a WMS on another machine is wanted. Loopback is plain text, all else TLS.
    root_certificates
        PEM of the CA of the WMS's certificate; with it, TLS is spoken on loopback, too. Default:
        the file that `EWMS_WMS_CA` names, else those that gRPC brings.
    mqs_root_certificates
        The same of the MQS. Default: `EWMS_MQS_CA`, else those of the WMS.
    timeout
        Deadline of each single call, in seconds.
    patience
        How long, in seconds, an iterator tries to go on before it raises the last error.
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
        address = wms or os.environ.get("EWMS_WMS") or DEFAULT_WMS
        trust = Trust.given(root_certificates, mqs_root_certificates)
        self._channel = connect(address, insecure=insecure, tls=trust.wms)
        super().__init__(self._channel, timeout)
        self._patience = patience
        self._brokers = Brokers(trust.mqs)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all channels. Calls in flight are cancelled."""
        await self._brokers.close()
        await self._channel.close()

    def watch(
        self,
        workflow_id: str,
        *,
        from_revision: int | None = None,
        feed_epoch: str = "",
        keep_open: bool = False,
        checkpoint_interval: float | None = None,
    ) -> AsyncGenerator[WatchEvent, None]:
        """A snapshot of a workflow, then every revision, until it has settled.

        With `from_revision`, the last one seen, no snapshot comes first. RevisionGap if the server
        breaks its promise; NotFound.
        """
        request = workflow_service_pb2.WatchWorkflowRequest(
            workflow_id=workflow_id,
            from_revision=from_revision,
            feed_epoch=feed_epoch,
            keep_open=keep_open,
        )
        if checkpoint_interval is not None:
            request.checkpoint_interval.FromMilliseconds(round(checkpoint_interval * 1000))
        return watch_workflow(
            lambda resumed: self._workflows.WatchWorkflow(resumed, timeout=_WATCH_LIFETIME),
            request,
            self._patience,
        )

    def watch_workflows(
        self,
        filter: str = "",  # noqa: A002
        *,
        resume_token: str = "",
    ) -> AsyncGenerator[tuple[WorkflowsEvent, str], None]:
        """The workflows that match, then every change to them, without end.

        Each event comes with the token that resumes after it, on a later watch with this filter.
        """

        def open_feed(
            token: str,
        ) -> grpc.aio.UnaryStreamCall[
            workflow_service_pb2.WatchWorkflowsRequest, workflow_service_pb2.WatchWorkflowsResponse
        ]:
            request = workflow_service_pb2.WatchWorkflowsRequest(filter=filter, resume_token=token)
            return self._workflows.WatchWorkflows(request, timeout=_WATCH_LIFETIME)

        return watch_workflows(open_feed, resume_token, self._patience)

    def watch_taskforces(
        self,
        filter: str = "",  # noqa: A002
        *,
        resume_token: str = "",
    ) -> AsyncGenerator[tuple[TaskforcesEvent, str], None]:
        """The taskforces that match, then every change to them, as `watch_workflows`."""

        def open_feed(
            token: str,
        ) -> grpc.aio.UnaryStreamCall[
            taskforce_service_pb2.WatchTaskforcesRequest,
            taskforce_service_pb2.WatchTaskforcesResponse,
        ]:
            request = taskforce_service_pb2.WatchTaskforcesRequest(
                filter=filter, resume_token=token
            )
            return self._taskforces.WatchTaskforces(request, timeout=_WATCH_LIFETIME)

        return watch_taskforces(open_feed, resume_token, self._patience)

    async def wait_for(
        self, workflow_id: str, condition: Condition, *, timeout: float | None = None
    ) -> WorkflowView:
        """The workflow as soon as it is in a state, in one of several, or as a question says.

        WaitTimeout after `timeout` seconds; WorkflowEnded if it cannot come true any more.
        """
        return await wait_until(self.watch(workflow_id), condition, timeout)

    async def publish(
        self,
        workflow_id: str,
        alias: str,
        events: Events,
        *,
        on_confirmed: Callable[[int], None] | None = None,
        activation_timeout: float | None = 600.0,
        on_waiting: Waiting | None = None,
    ) -> int:
        """Publish events to a public queue and return how many, once all are durable.

        Waits up to `activation_timeout` seconds for the queue to be granted; meanwhile
        `on_waiting` is called with the workflow as it is, at each change. `on_confirmed` is
        called with the number so far. FailedPrecondition if the queue is closed, QueueGone if it
        is released.
        """
        queue = await self._find_queue(workflow_id, alias, activation_timeout, on_waiting)
        return await publish_events(
            queue, events, patience=self._patience, on_confirmed=on_confirmed
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
    ) -> Consumer:
        """Deliveries of a public queue: `async with client.consume(...) as deliveries`.

        Ends after `count` of them, or when the queue is drained. At most `credit` are held at a
        time, and their leases are extended meanwhile. A queue that is not granted yet is waited
        for as by `publish`. QueueGone if it is released.
        """
        return Consumer(
            lambda: self._find_queue(workflow_id, alias, activation_timeout, on_waiting),
            count=count,
            credit=credit,
            name=f"ewms_client {socket.gethostname()} {os.getpid()}"[:128],
            patience=self._patience,
        )

    async def _find_queue(
        self, workflow_id: str, alias: str, timeout: float | None, on_waiting: Waiting | None
    ) -> QueueAccess:
        return await find_queue(
            workflow_id,
            alias,
            self.public_queues,
            self.watch,
            self._brokers,
            timeout,
            self._patience if timeout is None else min(self._patience, timeout),
            self.get_workflow,
            on_waiting,
        )
