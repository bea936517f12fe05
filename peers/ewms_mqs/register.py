"""The queues that were granted: who they belong to, and what has become of them.

Reads only; `grants`, `draining` and `retention` write. What never changes of a queue is kept in
memory (a bounded number of them), what changes is read each time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from ewms_mqs.errors import QueueNotFound
from ewms_mqs.model import Mqid, Queue, QueueNo, QueueState, WorkflowId
from ewms_postgres.database import Executor
from ewms_postgres.statements import statement

__all__ = ["Register", "queue_from"]

_KEPT = 20_000

_COLUMNS = """
  queue_no, mqid, workflow_id, alias, is_public,
  close_time IS NOT NULL AS is_closed, drain_time IS NOT NULL AS is_drained,
  keep_until IS NOT NULL AS is_released, n_dead
"""
_BY_MQID = statement(f"SELECT {_COLUMNS} FROM mqs.queues WHERE mqid = :mqid")
_GRAVE = statement(
    "SELECT queue_no, mqid, workflow_id, alias, false AS is_public FROM mqs.graves"
    " WHERE mqid = :mqid AND keep_until > now()"
)
# In a subquery, so that the planner does not make a plan for each array.
_BY_NUMBER = statement(
    f"SELECT {_COLUMNS} FROM mqs.queues WHERE queue_no = ANY ((SELECT :numbers::int[])::int[])"
)
_OF_WORKFLOW = statement(
    f"SELECT {_COLUMNS} FROM mqs.queues WHERE workflow_id = :workflow ORDER BY ordinal"
)
_OF_WORKFLOWS = statement(
    f"SELECT {_COLUMNS} FROM mqs.queues"
    " WHERE workflow_id = ANY (:workflows) AND queue_no > :after ORDER BY queue_no LIMIT :limit"
)
_ALL = statement(
    f"SELECT {_COLUMNS} FROM mqs.queues WHERE queue_no > :after ORDER BY queue_no LIMIT :limit"
)
_CHANGED = statement(
    f"SELECT {_COLUMNS} FROM mqs.queues"
    " WHERE change_time > statement_timestamp() - :within::interval"
)
_WORKFLOW = statement(
    "SELECT grant_time IS NOT NULL AS is_granted, release_time IS NOT NULL AS is_released"
    " FROM mqs.workflows WHERE workflow_id = :workflow"
)


class Register:
    """Looks queues up."""

    def __init__(self, database: Executor) -> None:
        self._database = database
        self._known: OrderedDict[Mqid, Queue] = OrderedDict()

    async def queue(self, mqid: Mqid) -> Queue:
        """What never changes of a queue. Raises QueueNotFound, late for one lately released."""
        known = self._known.get(mqid)
        if known is None:
            known = (await self.state(mqid)).queue
        self._known.move_to_end(mqid)
        return known

    async def state(self, mqid: Mqid) -> QueueState:
        """A queue as it is now. Raises QueueNotFound."""
        row = await self._database.fetchrow(_BY_MQID, mqid=mqid)
        if row is None:
            self._known.pop(mqid, None)
            raise QueueNotFound(mqid)
        state = _state_from(row)
        self._known[mqid] = state.queue
        if len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return state

    async def remains(self, mqid: Mqid) -> Queue:
        """A private queue that is released, and of which dead letters are left.

        Raises QueueNotFound.
        """
        row = await self._database.fetchrow(_GRAVE, mqid=mqid)
        if row is None:
            raise QueueNotFound(mqid)
        return queue_from(row)

    def forget(self, queue: Queue) -> None:
        """The queue is released."""
        self._known.pop(queue.mqid, None)

    async def states(self, numbers: Sequence[QueueNo]) -> dict[QueueNo, QueueState]:
        """Those of the queues that exist."""
        rows = await self._database.fetch(_BY_NUMBER, numbers=list(numbers))
        return {row["queue_no"]: _state_from(row) for row in rows}

    async def of_workflow(self, workflow_id: WorkflowId) -> list[QueueState]:
        """A workflow's queues in the order of their request; none once they are released."""
        rows = await self._database.fetch(_OF_WORKFLOW, workflow=workflow_id)
        return [_state_from(row) for row in rows]

    async def page(
        self, workflow_ids: Sequence[WorkflowId] | None, after: QueueNo, limit: int
    ) -> list[QueueState]:
        """Queues of some workflows, or of all, in the order of their numbers."""
        if workflow_ids is None:
            rows = await self._database.fetch(_ALL, after=after, limit=limit)
        else:
            rows = await self._database.fetch(
                _OF_WORKFLOWS, workflows=list(workflow_ids), after=after, limit=limit
            )
        return [_state_from(row) for row in rows]

    async def changed(self, within: timedelta) -> list[QueueState]:
        """Queues that were granted, closed, drained or released, or whose dead letters became
        more or fewer, within that time.
        """
        return [_state_from(row) for row in await self._database.fetch(_CHANGED, within=within)]

    async def standing(self, workflow_id: WorkflowId) -> tuple[bool, bool]:
        """Whether queues were ever granted to the workflow, and whether they are released."""
        row = await self._database.fetchrow(_WORKFLOW, workflow=workflow_id)
        return (row["is_granted"], row["is_released"]) if row else (False, False)


def queue_from(row: Any) -> Queue:
    """The unchanging part of a row of the register."""
    return Queue(row["queue_no"], row["mqid"], row["workflow_id"], row["alias"], row["is_public"])


def _state_from(row: Any) -> QueueState:
    return QueueState(
        queue_from(row), row["is_closed"], row["is_drained"], row["is_released"], row["n_dead"]
    )
