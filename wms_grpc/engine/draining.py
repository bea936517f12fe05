"""Draining: tells the MQS which queues to close, and learns what becomes of them.

Every server does both; closing and recording are idempotent. The MQS pushes each queue that
closes or drains, or whose dead letters become more or fewer (at most once a second), and on a new
stream the state of every queue that is not released, so nothing is missed while either side is
away.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

import grpc
import structlog

from ewms.mqs.v1 import mqs_service_pb2 as mqs_pb2
from ewms_rpc.backoff import Backoff
from wms_grpc.domain.errors import NotAllowedNow, NotFound
from wms_grpc.domain.ids import Mqid, WorkflowId
from wms_grpc.domain.topics import CLOSING
from wms_grpc.engine.loops import reconcile
from wms_grpc.engine.mqs import Mqs
from wms_grpc.engine.wakeups import Wakeups
from wms_grpc.storage import lifecycle, queues, work
from wms_grpc.storage.queues import QueueState
from wms_grpc.storage.store import Store

__all__ = ["follow_queues", "run_closing"]

_log = structlog.get_logger(__name__)

_MOST: Final = 100


async def run_closing(store: Store, mqs: Mqs, wakeups: Wakeups, grace: timedelta) -> None:
    """Close queues that are due to close, for ever."""

    async def step() -> float | None:
        closings = await work.find_closings(store.db, _MOST)
        n_refused = 0
        for workflow_id, mqids in closings.items():
            try:
                states = await mqs.close_queues(workflow_id, mqids)
            except (NotFound, NotAllowedNow) as error:
                # One workflow's trouble must not keep the others' queues open.
                _log.error("cannot close", workflow_id=workflow_id, why=str(error))
                n_refused += 1
                continue
            await lifecycle.record_queue_states(store, {workflow_id: states}, grace)
        return 0.0 if len(closings) == _MOST and not n_refused else None

    await reconcile("closing", CLOSING, wakeups, step)


async def follow_queues(store: Store, mqs: Mqs, grace: timedelta) -> None:
    """Follow which queues close and drain, and which have dead letters, for ever."""
    backoff = Backoff(first=0.1, limit=10.0)
    request = mqs_pb2.WatchQueueStatsRequest(only_transitions=True)
    while True:
        try:
            with_dead = await queues.queues_with_dead_letters(store.db)
            async for message in mqs.stub.WatchQueueStats(request):
                backoff.reset()
                await _record(store, message.queues, with_dead, grace)
        except grpc.aio.AioRpcError as error:
            _log.log(backoff.level, "queues not followed", why=error.code().name)
        except Exception:
            _log.exception("queues not followed")
        await backoff.wait()


async def _record(
    store: Store, stats: Iterable[mqs_pb2.QueueStats], with_dead: set[str], grace: timedelta
) -> None:
    """Record what the stream tells; `with_dead` are the queues that had dead letters before.

    By that an open queue without any, such as each that is newly granted, costs no statement.
    """
    said = [
        QueueState(Mqid(s.mqid), s.is_closed, s.is_drained, n_dead=s.dead)
        for s in stats
        if s.is_closed or s.is_drained or s.dead or s.mqid in with_dead
    ]
    if not said:
        return
    known = await queues.workflows_of_news(store.db, said)
    states: defaultdict[WorkflowId, list[QueueState]] = defaultdict(list)
    for state in said:
        if state.mqid in known:
            states[known[state.mqid]].append(state)
    for workflow_id, of_workflow in states.items():
        await lifecycle.record_queue_states(store, {workflow_id: of_workflow}, grace)
    with_dead.difference_update(state.mqid for state in said)
    with_dead.update(state.mqid for state in said if state.n_dead and not state.is_drained)
