"""ListPublicQueues: a workflow's public queues with fresh tokens, for its owner alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ewms.mqs.v1.mqs_service_pb2 import QueueProfile
from ewms.wms.v1 import workflow_service_pb2 as pb
from ewms_rpc.errors import PermissionDenied
from ewms_rpc.identity import Identity
from wms_grpc.domain.errors import NotAllowedNow, NotFound
from wms_grpc.domain.ids import WorkflowId
from wms_grpc.engine.mqs import Mqs
from wms_grpc.storage.listing import read_workflow
from wms_grpc.storage.queues import queues_of
from wms_grpc.storage.store import Store

__all__ = ["list_public_queues"]


async def list_public_queues(
    store: Store, mqs: Mqs, request: pb.ListPublicQueuesRequest, identity: Identity
) -> pb.ListPublicQueuesResponse:
    """Return the public queues; those that are granted and not released with a token."""
    workflow_id = WorkflowId(request.workflow_id)
    workflow = await read_workflow(store.db, workflow_id)
    if workflow is None:
        raise NotFound("workflow", workflow_id)
    if workflow.owner != identity.name:
        raise PermissionDenied("queue tokens go to the workflow's owner alone")
    queues = [q for q in (await queues_of(store.db, [workflow_id]))[workflow_id] if q.is_public]
    granted = [queue.mqid for queue in queues if queue.is_activated]
    minted = await _fresh_profiles(mqs, workflow_id, granted) if granted else {}
    response = pb.ListPublicQueuesResponse()
    for queue in queues:
        profile = minted.get(queue.mqid)
        response.queues.add(
            alias=queue.alias,
            mqid=queue.mqid,
            is_activated=queue.is_activated,
            broker_type=queue.broker_type,
            broker_address=queue.broker_address,
            broker_tls=queue.broker_tls,
            is_closed=queue.is_closed,
            is_drained=queue.is_drained,
            auth_token=profile.auth_token if profile else "",
            token_expire_time=profile.token_expire_time if profile else None,
        )
    return response


async def _fresh_profiles(
    mqs: Mqs, workflow_id: WorkflowId, mqids: Sequence[str]
) -> Mapping[str, QueueProfile]:
    """The queues' profiles with new tokens; after the release, of those that are still kept."""
    # To name a queue that is gone is refused; to name none means all that are there.
    for named in (mqids, ()):
        try:
            answer = await mqs.refresh_tokens(workflow_id, named)
        except (NotAllowedNow, NotFound):
            continue
        return {profile.mqid: profile for profile in answer.profiles}
    return {}
