"""MqsService: queues for the WMS, over gRPC.

Thin: the rules stand in `grants`, `draining`, `retention`, `tokens` and `credentials`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from ewms.mqs.v1 import mqs_service_pb2 as pb
from ewms_mqs.brokers import Broker
from ewms_mqs.config import MqsSettings
from ewms_mqs.credentials import MAX_QUEUES, Credentials
from ewms_mqs.draining import Draining
from ewms_mqs.errors import QueueNotFound, QueueReleased, QueuesReleased, WorkflowNotFound
from ewms_mqs.grants import Grants, NoRoom
from ewms_mqs.keys import KeyRing
from ewms_mqs.messages import Profiles, dead_letter_message
from ewms_mqs.model import Mqid, QueueSpec, QueueState, TaskforceId, WorkflowId
from ewms_mqs.register import Register
from ewms_mqs.retention import Retention
from ewms_mqs.tokens import Tokens
from ewms_mqs.watching import Watching
from ewms_rpc.context import CallContext
from ewms_rpc.errors import FieldViolation, InvalidArgument

__all__ = ["MqsServicer"]

_DEFAULT_PAGE = 100
_MAX_PAGE = 1_000
_DEFAULT_INTERVAL = 1.0
_LEAST_INTERVAL = 0.1


class MqsServicer:
    """Serves `ewms.mqs.v1.MqsService`."""

    def __init__(
        self,
        register: Register,
        broker: Broker,
        grants: Grants,
        draining: Draining,
        retention: Retention,
        keys: KeyRing,
        tokens: Tokens,
        credentials: Credentials,
        watching: Watching,
        profiles: Profiles,
        settings: MqsSettings,
    ) -> None:
        self._register = register
        self._broker = broker
        self._grants = grants
        self._draining = draining
        self._retention = retention
        self._keys = keys
        self._tokens = tokens
        self._credentials = credentials
        self._watching = watching
        self._profiles = profiles
        self._retry_after = settings.retry_after

    async def RequestQueues(
        self, request: pb.RequestQueuesRequest, context: CallContext
    ) -> pb.RequestQueuesResponse:
        """Grant a workflow its queues."""
        _require_unique(request.queues)
        specs = [QueueSpec(Mqid(q.mqid), q.alias, q.is_public) for q in request.queues]
        granted = await self._grants.request_queues(WorkflowId(request.workflow_id), specs)
        response = pb.RequestQueuesResponse()
        if isinstance(granted, NoRoom):
            response.try_again_later.reason = granted.reason
            response.try_again_later.retry_after.FromTimedelta(self._retry_after)
        else:
            # The WMS asks for them next, on the way from a submission to a running worker.
            self._tokens.prepare([state.queue for state in granted])
            response.granted.SetInParent()
            response.granted.profiles.extend(self._profiles.messages(granted))
        return response

    async def ReleaseQueues(
        self, request: pb.ReleaseQueuesRequest, context: CallContext
    ) -> pb.ReleaseQueuesResponse:
        """Take a workflow's queues back."""
        retained = await self._retention.release_queues(WorkflowId(request.workflow_id))
        return pb.ReleaseQueuesResponse(retained=self._profiles.messages(retained))

    async def GetQueueProfiles(
        self, request: pb.GetQueueProfilesRequest, context: CallContext
    ) -> pb.GetQueueProfilesResponse:
        """A workflow's queues."""
        states = await self._queues_of(request.workflow_id)
        return pb.GetQueueProfilesResponse(profiles=self._profiles.messages(states))

    async def CloseQueue(
        self, request: pb.CloseQueueRequest, context: CallContext
    ) -> pb.CloseQueueResponse:
        """Close some of a workflow's queues."""
        states = _named(await self._queues_of(request.workflow_id), request.mqids)
        numbers = [state.queue.number for state in states]
        await self._draining.close(self._broker, numbers)
        now = await self._register.states(numbers)
        closed = [now[number] for number in numbers if number in now]
        return pb.CloseQueueResponse(profiles=self._profiles.messages(closed))

    async def RefreshTokens(
        self, request: pb.RefreshTokensRequest, context: CallContext
    ) -> pb.RefreshTokensResponse:
        """Mint tokens, and a pilots' credential if it is asked for."""
        workflow_id = WorkflowId(request.workflow_id)
        if request.taskforce_uuid and len(request.mqids) > MAX_QUEUES:
            words = f"must have at most {MAX_QUEUES} items for a taskforce's credential"
            raise InvalidArgument([FieldViolation("mqids", words)])
        states = await self._register.of_workflow(workflow_id)
        is_released = any(state.is_released for state in states)
        if not states or (is_released and request.taskforce_uuid):
            await self._require_standing(workflow_id)
        if request.mqids:
            if is_released:
                _require_kept(workflow_id, states, request.mqids)
            states = _named(states, request.mqids)
        tokens = await self._tokens.mint([state.queue for state in states])
        response = pb.RefreshTokensResponse(
            profiles=map(self._profiles.message, states, tokens),
        )
        if request.taskforce_uuid:
            response.pilot_credential = self._credentials.mint(
                workflow_id, TaskforceId(request.taskforce_uuid), [Mqid(m) for m in request.mqids]
            )
        return response

    async def RevokeCredential(
        self, request: pb.RevokeCredentialRequest, context: CallContext
    ) -> pb.RevokeCredentialResponse:
        """End the credential of a taskforce's pilots."""
        await self._credentials.revoke(
            WorkflowId(request.workflow_id), TaskforceId(request.taskforce_uuid)
        )
        return pb.RevokeCredentialResponse()

    async def GetQueueStats(
        self, request: pb.GetQueueStatsRequest, context: CallContext
    ) -> pb.GetQueueStatsResponse:
        """The counts of a workflow's queues."""
        states = await self._queues_of(request.workflow_id)
        return pb.GetQueueStatsResponse(queues=await self._watching.stats(states))

    def WatchQueueStats(
        self, request: pb.WatchQueueStatsRequest, context: CallContext
    ) -> AsyncIterator[pb.WatchQueueStatsResponse]:
        """Counts and transitions as they change."""
        chosen = {WorkflowId(w) for w in request.workflow_ids} if request.workflow_ids else None
        interval = _DEFAULT_INTERVAL
        if request.HasField("interval"):
            interval = max(_LEAST_INTERVAL, request.interval.ToTimedelta().total_seconds())
        return self._watching.watch(chosen, None if request.only_transitions else interval)

    async def ListDeadLetters(
        self, request: pb.ListDeadLettersRequest, context: CallContext
    ) -> pb.ListDeadLettersResponse:
        """A page of a queue's dead letters."""
        mqid = Mqid(request.mqid)
        try:
            queue = (await self._register.state(mqid)).queue
        except QueueNotFound:
            queue = await self._register.remains(mqid)
        size = min(request.page_size or _DEFAULT_PAGE, _MAX_PAGE)
        page = await self._broker.list_dead_letters(queue, size, _place(queue, request.page_token))
        response = pb.ListDeadLettersResponse(
            dead_letters=[dead_letter_message(letter) for letter in page.dead_letters]
        )
        if page.next_after is not None:
            response.next_page_token = f"{queue.number}.{page.next_after}"
        return response

    async def RequeueDeadLetters(
        self, request: pb.RequeueDeadLettersRequest, context: CallContext
    ) -> pb.RequeueDeadLettersResponse:
        """Put a queue's dead letters back."""
        mqid = Mqid(request.mqid)
        try:
            queue = (await self._register.state(mqid)).queue
        except QueueNotFound:
            await self._register.remains(mqid)
            raise QueueReleased(mqid) from None
        ids = list(request.dead_letter_ids) or None
        n_requeued = await self._broker.requeue_dead_letters(queue, ids, request.request_id)
        return pb.RequeueDeadLettersResponse(n_requeued=n_requeued)

    async def GetJwks(self, request: pb.GetJwksRequest, context: CallContext) -> pb.GetJwksResponse:
        """The public keys."""
        return pb.GetJwksResponse(jwks_json=self._keys.jwks_json())

    async def _queues_of(self, workflow_id: str) -> list[QueueState]:
        """A workflow's queues; none once they are released. Raises WorkflowNotFound."""
        states = await self._register.of_workflow(WorkflowId(workflow_id))
        if not states:
            is_granted, _ = await self._register.standing(WorkflowId(workflow_id))
            if not is_granted:
                raise WorkflowNotFound(workflow_id)
        return states

    async def _require_standing(self, workflow_id: WorkflowId) -> None:
        """Raise unless the workflow has been granted queues (perhaps none) and not released."""
        is_granted, is_released = await self._register.standing(workflow_id)
        if is_released:
            raise QueuesReleased(workflow_id)
        if not is_granted:
            raise WorkflowNotFound(workflow_id)


def _require_unique(specs: Sequence[pb.QueueSpec]) -> None:
    violations = []
    seen: set[tuple[str, str]] = set()
    for index, spec in enumerate(specs):
        for name, value in (("mqid", spec.mqid), ("alias", spec.alias)):
            if (name, value) in seen:
                path = f"queues[{index}].{name}"
                violations.append(FieldViolation(path, "must not be there twice"))
            seen.add((name, value))
    if violations:
        raise InvalidArgument(violations)


def _named(states: Sequence[QueueState], mqids: Sequence[str]) -> list[QueueState]:
    """The states of the queues that are named, in that order. Raises QueueNotFound."""
    by_mqid = {state.queue.mqid: state for state in states}
    found = []
    for mqid in dict.fromkeys(mqids):
        state = by_mqid.get(Mqid(mqid))
        if state is None:
            raise QueueNotFound(mqid)
        found.append(state)
    return found


def _require_kept(
    workflow_id: WorkflowId, states: Sequence[QueueState], mqids: Sequence[str]
) -> None:
    if not set(mqids) <= {state.queue.mqid for state in states}:
        raise QueuesReleased(workflow_id)


def _place(queue: object, page_token: str) -> int:
    number, _, after = page_token.partition(".")
    if not page_token:
        return 0
    if number != str(getattr(queue, "number", "")) or not after.isdecimal() or len(after) > 18:
        words = "must be the next_page_token of a page of this queue"
        raise InvalidArgument([FieldViolation("page_token", words)])
    return int(after)
