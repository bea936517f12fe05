"""The tokens and the credential that a taskforce's pilots start with.

They are minted when an assignment is pushed. Where one process both activates a workflow and
serves its agent, it asks for them while the grant is still being written, so that the push need
not wait for the MQS once more. Never stores or logs a token: what is fetched ahead and not wanted
is forgotten within seconds.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import structlog

from ewms.mqs.v1.mqs_service_pb2 import RefreshTokensResponse
from wms_grpc.domain.errors import DomainError
from wms_grpc.domain.ids import Mqid, TaskforceId, WorkflowId
from wms_grpc.domain.model import Taskforce
from wms_grpc.domain.translation import Plan
from wms_grpc.engine.mqs import Mqs

__all__ = ["PilotTokens"]

_log = structlog.get_logger(__name__)

_KEPT_SECONDS: Final = 5.0


class PilotTokens:
    """Asks the MQS for what pilots need."""

    def __init__(self, mqs: Mqs) -> None:
        self._mqs = mqs
        self._served: Counter[str] = Counter()
        self._ahead: dict[TaskforceId, asyncio.Future[RefreshTokensResponse]] = {}

    @contextmanager
    def serving(self, schedd: str) -> Iterator[None]:
        """Say that a schedd's agent is served here for as long as the block runs."""
        self._served[schedd] += 1
        try:
            yield
        finally:
            self._served[schedd] -= 1

    async def fetch_ahead(self, plan: Plan) -> None:
        """Ask for what the taskforces of a workflow will need that are pushed here."""
        mqids = {directive.task_id: directive.mqids for directive in plan.directives}
        async with asyncio.TaskGroup() as group:
            for taskforce in plan.taskforces:
                if self._served[taskforce.schedd]:
                    group.create_task(self._fetch_ahead(taskforce, mqids[taskforce.task_id]))

    async def fetch(
        self, workflow_id: WorkflowId, taskforce_uuid: TaskforceId, mqids: Sequence[Mqid]
    ) -> RefreshTokensResponse | None:
        """Return what a taskforce's pilots need; None, with the reason logged, if it is not to be
        had now. Jobs of a task without queues have no pilot, and need nothing.
        """
        if not mqids:
            return RefreshTokensResponse()
        ahead = self._ahead.pop(taskforce_uuid, None)
        if ahead is not None:
            await asyncio.wait([ahead])
            if not ahead.cancelled():
                return ahead.result()
        try:
            return await self._mqs.refresh_tokens(workflow_id, mqids, taskforce_uuid)
        except DomainError as error:
            _log.warning("no tokens", taskforce=taskforce_uuid, why=str(error))
            return None

    async def _fetch_ahead(self, taskforce: Taskforce, mqids: Sequence[Mqid]) -> None:
        uuid, loop = taskforce.taskforce_uuid, asyncio.get_running_loop()
        ahead = self._ahead[uuid] = loop.create_future()
        loop.call_later(_KEPT_SECONDS, self._ahead.pop, uuid, None)
        try:
            ahead.set_result(await self._mqs.refresh_tokens(taskforce.workflow_id, mqids, uuid))
        except DomainError as error:
            # Who pushes asks again, and says so if that fails, too.
            _log.debug("no tokens ahead", taskforce=uuid, why=str(error))
        finally:
            if not ahead.done():
                ahead.cancel()
