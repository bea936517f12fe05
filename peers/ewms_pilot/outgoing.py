"""Publishing a task's result.

An output's id is derived from its input's, so a result that is published again, because the pilot
was killed before it acknowledged, is dropped by the broker. Returns only when the event is durable.
"""

from __future__ import annotations

import hashlib
import logging

import grpc
import grpc.aio

from ewms.mqs.v1 import event_service_pb2 as pb
from ewms_pilot.access import QueueAccess
from ewms_pilot.environment import Mqid
from ewms_pilot.errors import OutputRefused, QueueRefused

__all__ = ["MAX_PAYLOAD", "Outgoing", "derived_event_id"]

_LOG = logging.getLogger(__name__)
MAX_PAYLOAD = 15 * 1024 * 1024


def derived_event_id(incoming: Mqid, event_id: str, outgoing: Mqid) -> str:
    """The id of the output that an event of `incoming` causes on `outgoing`.

    The incoming queue is part of it: two queues may hold different events of the same id.
    """
    return hashlib.sha256(f"{incoming}/{outgoing}/{event_id}".encode()).hexdigest()[:32]


class Outgoing:
    """One outgoing queue."""

    def __init__(self, access: QueueAccess) -> None:
        self.access = access

    async def run(self) -> None:
        """Keep its token fresh, until cancelled."""
        await self.access.keep_fresh()

    async def publish(self, incoming: Mqid, cause: pb.Event, payload: bytes) -> None:
        """Publish what the event `cause` of `incoming` led to, with its headers; confirmed.

        Raises OutputRefused if the queue is closed or the result is too large, QueueRefused if
        the broker refuses this worker.
        """
        mqid = self.access.mqid
        if len(payload) > MAX_PAYLOAD:
            raise OutputRefused(f"the out file has {len(payload)} bytes, above {MAX_PAYLOAD}")
        event = pb.Event(
            event_id=derived_event_id(incoming, cause.event_id, mqid),
            payload=payload,
            headers=cause.headers,
        )
        request = pb.PublishBatchRequest(mqid=mqid, events=[event])
        try:
            answer = await self.access.call(self.access.stub.PublishBatch, request)
        except QueueRefused as refused:
            error = refused.__cause__
            if _is_closed(error):
                raise OutputRefused(f"the outgoing queue {mqid} is closed") from refused
            # A result that the broker calls malformed must not end one worker after the other.
            if _has_code(error, grpc.StatusCode.INVALID_ARGUMENT):
                raise OutputRefused(str(refused)) from refused
            raise
        if answer.n_published == 0:
            _LOG.info("the result of event %s was there already", cause.event_id)


def _has_code(error: BaseException | None, code: grpc.StatusCode) -> bool:
    return isinstance(error, grpc.aio.AioRpcError) and error.code() is code


def _is_closed(error: BaseException | None) -> bool:
    if not isinstance(error, grpc.aio.AioRpcError):
        return False
    if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
        return False
    # The type of the PreconditionFailure, a string in the serialized details: reading it needs
    # no further package on the worker.
    return any(
        key == "grpc-status-details-bin" and b"QUEUE_CLOSED" in _bytes(value)
        for key, value in error.trailing_metadata() or ()
    )


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()
