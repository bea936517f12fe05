"""Activation: asks the MQS for the queues of workflows that wait for theirs.

By priority, then age. A workflow that is told to try again later waits with the reason shown,
while the others go ahead. While the MQS is away only one workflow at a time asks, so that an
outage costs neither the MQS nor the database more than it must. Asking is idempotent by workflow:
a process that dies after a grant leaves a claim that runs out, and another one asks again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import structlog

from ewms_rpc.backoff import Backoff
from wms_grpc.domain.errors import PeerUnavailable
from wms_grpc.domain.model import Cause, WorkflowState
from wms_grpc.domain.submission import ClusterLocations
from wms_grpc.domain.topics import ACTIVATION, OFFERED
from wms_grpc.domain.translation import Plan
from wms_grpc.engine.loops import reconcile
from wms_grpc.engine.mqs import Granted, Mqs, QueuesRefused
from wms_grpc.engine.pilot_tokens import PilotTokens
from wms_grpc.engine.wakeups import Wakeups
from wms_grpc.storage import lifecycle, work
from wms_grpc.storage.store import Store
from wms_grpc.storage.work import Activation

__all__ = ["Activator"]

_log = structlog.get_logger(__name__)

_WORKERS: Final = 8
_MOST_OFFERED: Final = 256


class Activator:
    """Asks for queues, a few workflows at a time."""

    def __init__(
        self,
        store: Store,
        mqs: Mqs,
        tokens: PilotTokens,
        wakeups: Wakeups,
        locations: ClusterLocations,
    ) -> None:
        self._locations = locations
        self._store = store
        self._mqs = mqs
        self._tokens = tokens
        self._wakeups = wakeups
        self._offered: deque[Activation] = deque()
        self._is_mqs_away = False
        self._backoff = Backoff(first=0.2, limit=5.0)

    @property
    def can_take(self) -> bool:
        """Whether a workflow that is submitted now would be asked for at once."""
        return not self._is_mqs_away and len(self._offered) < _MOST_OFFERED

    def offer(self, activation: Activation) -> None:
        """Take a workflow that this process has claimed already."""
        self._offered.append(activation)
        self._wakeups.wake_here(OFFERED)

    async def run(self) -> None:
        """Ask for ever: for what this process was offered, and for what the database holds."""
        async with asyncio.TaskGroup() as group:
            for name, topic, step in (
                ("activation", ACTIVATION, self._step),
                ("activation of what is offered", OFFERED, self._take_offered),
            ):
                group.create_task(reconcile(name, topic, self._wakeups, step))

    async def _take_offered(self) -> None:
        while self._offered and not self._is_mqs_away:
            n_taken = min(_WORKERS, len(self._offered))
            await self._activate_all([self._offered.popleft() for _ in range(n_taken)])

    async def _step(self) -> float | None:
        while batch := await work.claim_activations(
            self._store.db, 1 if self._is_mqs_away else _WORKERS
        ):
            await self._activate_all(batch)
            if self._is_mqs_away:
                # Waited out here: each submission would wake the loop for one more failed call.
                await self._backoff.wait()
        due = (await work.next_due(self._store.db)).activation
        return None if due is None else due.total_seconds()

    async def _activate_all(self, batch: Sequence[Activation]) -> None:
        async with asyncio.TaskGroup() as group:
            for activation in batch:
                group.create_task(self._activate(activation, is_alone=len(batch) == 1))

    async def _activate(self, activation: Activation, *, is_alone: bool) -> None:
        workflow_id = activation.workflow_id
        try:
            answer = await self._mqs.request_queues(activation)
        except PeerUnavailable as error:
            self._is_mqs_away = True
            _log.warning("no queues", workflow_id=workflow_id, why=str(error))
            await work.postpone_activation(
                self._store, workflow_id, str(error), timedelta(seconds=1)
            )
            return
        except QueuesRefused as error:
            await self._refused(activation, str(error))
            return
        if self._is_mqs_away:
            self._is_mqs_away = False
            self._wakeups.wake_here(OFFERED)
        self._backoff.reset()
        if isinstance(answer, Granted):
            await self._granted(activation, answer, is_alone=is_alone)
        else:
            await work.postpone_activation(
                self._store, workflow_id, answer.reason, answer.retry_after
            )

    async def _granted(self, activation: Activation, grant: Granted, *, is_alone: bool) -> None:
        plan = activation.plan
        # Of many that are activated together most will wait for room.
        if plan is None or not is_alone:
            await lifecycle.grant_queues(self._store, activation.workflow_id, grant.states, plan)
            return
        async with asyncio.TaskGroup() as group:
            # First, so that the MQS mints them while the grant is encoded and written.
            group.create_task(self._tokens.fetch_ahead(plan))
            group.create_task(self._granted_alone(plan, grant))

    async def _granted_alone(self, plan: Plan, grant: Granted) -> None:
        if await lifecycle.grant_at_once(self._store, grant.states, self._locations, plan):
            return
        workflow_id = plan.workflow.workflow_id
        await lifecycle.grant_queues(self._store, workflow_id, grant.states, plan)

    async def _refused(self, activation: Activation, reason: str) -> None:
        async with self._store.revising([activation.workflow_id]) as revisions:
            revision = revisions.get(activation.workflow_id)
            # A workflow that ended meanwhile is refused by its tombstone: nothing is left to say.
            if revision and not revision.workflow.state.is_terminal:
                cause = Cause("activation", f"the MQS refuses its queues: {reason}")
                await lifecycle.end_workflow(
                    revisions, activation.workflow_id, WorkflowState.FAILED, cause
                )
