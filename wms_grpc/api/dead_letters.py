"""Dead letters, relayed from the MQS."""

from __future__ import annotations

from ewms.mqs.v1 import mqs_service_pb2 as mqs_pb2
from ewms.wms.v1 import workflow_service_pb2 as pb
from wms_grpc.domain.errors import NotFound
from wms_grpc.domain.model import Queue
from wms_grpc.engine.mqs import Mqs
from wms_grpc.storage.listing import read_workflow
from wms_grpc.storage.queues import queues_of
from wms_grpc.storage.store import Store

__all__ = ["list_dead_letters", "requeue_dead_letters"]


async def list_dead_letters(
    store: Store, mqs: Mqs, request: pb.ListDeadLettersRequest
) -> pb.ListDeadLettersResponse:
    """Return a page of a queue's dead letters."""
    queue = await _queue(store, request.workflow_id, request.alias)
    answer = await mqs.list_dead_letters(
        mqs_pb2.ListDeadLettersRequest(
            mqid=queue.mqid, page_size=request.page_size, page_token=request.page_token
        ),
        name=f"{queue.workflow_id}/{queue.alias}",
    )
    response = pb.ListDeadLettersResponse(next_page_token=answer.next_page_token)
    for letter in answer.dead_letters:
        response.dead_letters.add(
            dead_letter_id=letter.dead_letter_id,
            event_id=letter.event_id,
            n_deliveries=letter.n_deliveries,
            dead_time=letter.dead_time,
            reason=letter.reason,
            size=letter.size,
            payload=letter.payload,
            headers=letter.headers,
        )
    return response


async def requeue_dead_letters(
    store: Store, mqs: Mqs, request: pb.RequeueDeadLettersRequest
) -> pb.RequeueDeadLettersResponse:
    """Put dead letters back: those that are named, or none of them. Safe to repeat by its id."""
    queue = await _queue(store, request.workflow_id, request.alias)
    n_requeued = await mqs.requeue_dead_letters(
        queue.mqid,
        request.dead_letter_ids,
        request.request_id,
        name=f"{queue.workflow_id}/{queue.alias}",
    )
    return pb.RequeueDeadLettersResponse(n_requeued=n_requeued)


async def _queue(store: Store, workflow_id: str, alias: str) -> Queue:
    workflow = await read_workflow(store.db, workflow_id)
    if workflow is None:
        raise NotFound("workflow", workflow_id)
    queues = (await queues_of(store.db, [workflow.workflow_id]))[workflow.workflow_id]
    for queue in queues:
        if queue.alias == alias:
            return queue
    raise NotFound("queue", f"{workflow_id}/{alias}")
