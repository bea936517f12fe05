"""Assignments: one agent's stream, as a leased queue.

An assignment is claimed in the database before it is sent. When its tokens cannot be minted it is
put back, to be sent a little later. A stream ends when a newer session has taken over.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog
from google.protobuf.duration_pb2 import Duration

from ewms.mqs.v1 import mqs_service_pb2 as mqs_pb2
from ewms.wms.v1 import tms_service_pb2 as tms
from wms_grpc.domain.errors import NotAllowedNow
from wms_grpc.domain.ids import TaskforceId
from wms_grpc.domain.topics import assign_topic
from wms_grpc.engine.loops import POLL
from wms_grpc.engine.pilot_tokens import PilotTokens
from wms_grpc.engine.wakeups import Wakeups
from wms_grpc.storage import agents, messages
from wms_grpc.storage.agents import Push
from wms_grpc.storage.store import Store

__all__ = ["AssignmentStream"]

_log = structlog.get_logger(__name__)

_RETRY_TOKENS: Final = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class AssignmentStream:
    """The assignments of one schedd, for one agent."""

    store: Store
    mqs_address: str
    tokens: PilotTokens
    wakeups: Wakeups
    schedd: str
    agent_id: str
    ttl: timedelta

    async def __aiter__(self) -> AsyncIterator[tms.WatchAssignmentsResponse]:
        """Yield the lease, renewed at a third of its time, and what the agent is to do."""
        with self.tokens.serving(self.schedd):
            async for response in self._responses():
                yield response

    async def _responses(self) -> AsyncIterator[tms.WatchAssignmentsResponse]:
        topic = assign_topic(self.schedd)
        session = await agents.open_session(self.store.db, self.schedd, self.agent_id, self.ttl)
        # The session before this one is to notice at once that it has been replaced.
        self.wakeups.wake([topic])
        _log.info("agent", schedd=self.schedd, agent_id=self.agent_id, session=session)
        yield self._lease(session)
        clock = asyncio.get_running_loop().time
        renew_at = clock() + self.ttl.total_seconds() / 3
        while True:
            seen = self.wakeups.seen(topic)
            if clock() >= renew_at:
                if not await agents.renew_lease(self.store.db, self.schedd, session, self.ttl):
                    raise self._replaced()
                renew_at = clock() + self.ttl.total_seconds() / 3
                yield self._lease(session)
            async for response in self._pushes(session):
                yield response
            standing = await agents.standing(self.store.db, self.schedd, session)
            if not standing.is_current:
                raise self._replaced()
            due = POLL if standing.next_due is None else standing.next_due
            await self.wakeups.wait(topic, seen, max(0.0, min(POLL, due, renew_at - clock())))

    def _replaced(self) -> NotAllowedNow:
        return NotAllowedNow(
            "SESSION_REPLACED", self.schedd, f"a newer stream of schedd {self.schedd} took over"
        )

    async def _pushes(self, session: int) -> AsyncIterator[tms.WatchAssignmentsResponse]:
        db = self.store.db
        while True:
            pushes = await agents.claim_pushes(db, self.schedd, session)
            starts = [push for push in pushes if push.assignment == "start"]
            for push in pushes:
                if push.assignment == "stop":
                    taskforce = push.taskforce
                    yield _stop(
                        taskforce.taskforce_uuid, push.attempt, taskforce.cluster_id, "not wanted"
                    )
            async for response in self._starts(session, starts):
                yield response
            if not pushes:
                break
        for stray in await agents.claim_strays(db, self.schedd, session):
            yield _stop(stray.taskforce_uuid, stray.attempt, stray.cluster_id, "not its cluster")
        for hold in await agents.claim_holds(db, self.schedd, session):
            yield _hold(hold)

    async def _starts(
        self, session: int, pushes: Sequence[Push]
    ) -> AsyncIterator[tms.WatchAssignmentsResponse]:
        minted = await asyncio.gather(*(self._tokens(push) for push in pushes))
        unminted: list[TaskforceId] = []
        for push, tokens in zip(pushes, minted, strict=True):
            if tokens is None:
                unminted.append(push.taskforce.taskforce_uuid)
            else:
                yield self._start(push, tokens)
        if unminted:
            await agents.unclaim(self.store.db, session, unminted, _RETRY_TOKENS)

    async def _tokens(self, push: Push) -> mqs_pb2.RefreshTokensResponse | None:
        taskforce = push.taskforce
        return await self.tokens.fetch(
            taskforce.workflow_id, taskforce.taskforce_uuid, push.directive.mqids
        )

    def _start(
        self, push: Push, tokens: mqs_pb2.RefreshTokensResponse
    ) -> tms.WatchAssignmentsResponse:
        by_mqid = {profile.mqid: profile for profile in tokens.profiles}
        start = tms.StartAssignment(
            taskforce=messages.taskforce_message(push.taskforce),
            task_directive=messages.task_directive_message(push.directive),
            queues=[_queue(by_mqid[mqid]) for mqid in push.directive.mqids],
            attempt=push.attempt,
            pilot_credential=tokens.pilot_credential,
            mqs_address=self.mqs_address,
            owner=push.owner,
        )
        return tms.WatchAssignmentsResponse(start=start)

    def _lease(self, session: int) -> tms.WatchAssignmentsResponse:
        ttl = Duration()
        ttl.FromTimedelta(self.ttl)
        return tms.WatchAssignmentsResponse(lease=tms.Lease(session=session, ttl=ttl))


def _queue(profile: mqs_pb2.QueueProfile) -> tms.AssignedQueue:
    return tms.AssignedQueue(
        mqid=profile.mqid,
        alias=profile.alias,
        broker_type=profile.broker_type,
        broker_address=profile.broker_address,
        broker_tls=profile.broker_tls,
        auth_token=profile.auth_token,
        token_expire_time=profile.token_expire_time,
    )


def _stop(
    uuid: TaskforceId, attempt: int, cluster_id: int | None, reason: str
) -> tms.WatchAssignmentsResponse:
    stop = tms.StopAssignment(
        taskforce_uuid=uuid, attempt=attempt, cluster_id=cluster_id, reason=reason
    )
    return tms.WatchAssignmentsResponse(stop=stop)


def _hold(hold: agents.HoldPush) -> tms.WatchAssignmentsResponse:
    if hold.is_held:
        return tms.WatchAssignmentsResponse(
            hold=tms.HoldAssignment(
                taskforce_uuid=hold.taskforce_uuid,
                attempt=hold.attempt,
                cluster_id=hold.cluster_id,
                reason="its workflow is paused",
            )
        )
    return tms.WatchAssignmentsResponse(
        release=tms.ReleaseAssignment(
            taskforce_uuid=hold.taskforce_uuid,
            attempt=hold.attempt,
            cluster_id=hold.cluster_id,
        )
    )
