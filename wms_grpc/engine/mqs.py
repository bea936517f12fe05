"""The MQS as the WMS sees it: every call with a deadline, every answer typed.

A call that gets no answer raises PeerUnavailable; what the MQS refuses for good comes back as
QueuesRefused. Never stores or logs a token.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import grpc

from ewms.mqs.v1 import mqs_service_pb2 as mqs
from ewms.mqs.v1.mqs_service_pb2_grpc import MqsServiceStub
from ewms_rpc.channel import DEADLINE
from ewms_rpc.errors import AlreadyExists as RpcAlreadyExists
from ewms_rpc.errors import NotFound as RpcNotFound
from ewms_rpc.errors import from_rpc_error
from wms_grpc.domain.errors import (
    AlreadyExists,
    DomainError,
    NotAllowedNow,
    NotFound,
    PeerUnavailable,
)
from wms_grpc.domain.ids import Mqid, WorkflowId
from wms_grpc.storage.lifecycle import QueueState
from wms_grpc.storage.work import Activation

if TYPE_CHECKING:
    from ewms.mqs.v1.mqs_service_pb2_grpc import MqsServiceAsyncStub

__all__ = ["Granted", "Mqs", "QueuesRefused", "TryAgainLater"]

_RETRY: Final = timedelta(seconds=2)
_REFUSALS: Final = frozenset(
    {
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
    }
)


@dataclass(frozen=True, slots=True)
class Granted:
    """A workflow has its queues."""

    states: tuple[QueueState, ...]


@dataclass(frozen=True, slots=True)
class TryAgainLater:
    """There is no room for a workflow's queues yet."""

    reason: str
    retry_after: timedelta


class QueuesRefused(DomainError):
    """The MQS will never grant what was asked for; says why."""


class Mqs:
    """The calls to the MQS.

    Parameters
    ----------
    channel
        To the MQS. Every call here is idempotent, and tried again by who needs its answer.
    address
        What pilots are told to connect to.
    """

    def __init__(self, channel: grpc.aio.Channel, address: str) -> None:
        self.stub: MqsServiceAsyncStub = MqsServiceStub(channel)
        self.address = address

    async def request_queues(self, activation: Activation) -> Granted | TryAgainLater:
        """Ask for all queues of a workflow. Raises QueuesRefused, PeerUnavailable."""
        request = mqs.RequestQueuesRequest(
            workflow_id=activation.workflow_id,
            priority=activation.priority,
            queues=[
                mqs.QueueSpec(mqid=mqid, alias=alias, is_public=is_public)
                for mqid, alias, is_public in activation.queues
            ],
        )
        try:
            answer = await self.stub.RequestQueues(request, timeout=DEADLINE)
        except grpc.aio.AioRpcError as error:
            if error.code() in _REFUSALS:
                raise QueuesRefused(error.details() or error.code().name) from None
            raise _unavailable(error) from None
        if answer.HasField("granted"):
            return Granted(tuple(_state(profile) for profile in answer.granted.profiles))
        later = answer.try_again_later
        return TryAgainLater(later.reason, later.retry_after.ToTimedelta())

    async def release_queues(self, workflow_id: WorkflowId) -> None:
        """Give a workflow's queues back, granted or not. Raises PeerUnavailable."""
        try:
            await self.stub.ReleaseQueues(
                mqs.ReleaseQueuesRequest(workflow_id=workflow_id), timeout=DEADLINE
            )
        except grpc.aio.AioRpcError as error:
            raise _unavailable(error) from None

    async def close_queues(
        self, workflow_id: WorkflowId, mqids: Sequence[str]
    ) -> tuple[QueueState, ...]:
        """Close queues and return what they are then. Raises PeerUnavailable, NotFound."""
        try:
            answer = await self.stub.CloseQueue(
                mqs.CloseQueueRequest(workflow_id=workflow_id, mqids=mqids), timeout=DEADLINE
            )
        except grpc.aio.AioRpcError as error:
            raise _refused(error, "workflow", workflow_id) from None
        return tuple(_state(profile) for profile in answer.profiles)

    async def refresh_tokens(
        self, workflow_id: WorkflowId, mqids: Iterable[str], taskforce_uuid: str = ""
    ) -> mqs.RefreshTokensResponse:
        """Mint tokens, and with a taskforce its pilots' credential.

        Raises PeerUnavailable, NotAllowedNow once the queues are released.
        """
        request = mqs.RefreshTokensRequest(
            workflow_id=workflow_id, mqids=mqids, taskforce_uuid=taskforce_uuid
        )
        try:
            return await self.stub.RefreshTokens(request, timeout=DEADLINE)
        except grpc.aio.AioRpcError as error:
            raise _refused(error, "workflow", workflow_id) from None

    async def list_dead_letters(
        self, request: mqs.ListDeadLettersRequest, name: str
    ) -> mqs.ListDeadLettersResponse:
        """Return a page of dead letters of the queue that users know by `name`.

        Raises PeerUnavailable, NotFound.
        """
        try:
            return await self.stub.ListDeadLetters(request, timeout=DEADLINE)
        except grpc.aio.AioRpcError as error:
            raise _refused(error, "queue", name) from None

    async def requeue_dead_letters(
        self, mqid: str, dead_letter_ids: Iterable[str], request_id: str, name: str
    ) -> int:
        """Put dead letters back into the queue that users know by `name`, and return how many.

        Raises PeerUnavailable, NotFound (of the queue or of dead letters), AlreadyExists, and
        NotAllowedNow when the queue is drained or released.
        """
        request = mqs.RequeueDeadLettersRequest(
            mqid=mqid, dead_letter_ids=dead_letter_ids, request_id=request_id
        )
        try:
            answer = await self.stub.RequeueDeadLetters(request, timeout=DEADLINE)
        except grpc.aio.AioRpcError as error:
            told = from_rpc_error(error)
            if isinstance(told, RpcNotFound) and told.resource_type == "dead letter":
                raise NotFound(told.resource_type, told.name) from None
            if isinstance(told, RpcAlreadyExists):
                raise AlreadyExists(request_id) from None
            raise _refused(error, "queue", name) from None
        return answer.n_requeued


def _state(profile: mqs.QueueProfile) -> QueueState:
    return QueueState(
        mqid=Mqid(profile.mqid),
        is_closed=profile.is_closed,
        is_drained=profile.is_drained,
        broker_type=profile.broker_type,
        broker_address=profile.broker_address,
        broker_tls=profile.broker_tls,
    )


def _refused(error: grpc.aio.AioRpcError, resource: str, name: str) -> DomainError:
    if error.code() is grpc.StatusCode.NOT_FOUND:
        return NotFound(resource, name)
    if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
        return NotAllowedNow("MQS_REFUSES", name, error.details() or "the MQS refuses")
    return _unavailable(error)


def _unavailable(error: grpc.aio.AioRpcError) -> PeerUnavailable:
    return PeerUnavailable(f"the MQS does not answer ({error.code().name})", _RETRY)
