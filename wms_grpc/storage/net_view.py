"""A net as it stands, for who wants to see it."""

from __future__ import annotations

from ewms.wms.v1 import planning_service_pb2 as pb
from ewms.wms.v1.task_kinds_pb2 import TASK_KIND_UNSPECIFIED
from ewms_postgres.database import Database
from ewms_postgres.statements import statement
from wms_grpc.domain.errors import NotFound
from wms_grpc.domain.ids import WorkflowId
from wms_grpc.domain.model import TaskState
from wms_grpc.domain.net_plan import JOIN
from wms_grpc.storage.task_work import KIND, STATE

__all__ = ["net_of"]

_HAS_NET = statement("SELECT has_net FROM wms.workflow WHERE workflow_id = :workflow_id")

_TRANSITIONS = statement("""
    SELECT t.number, t.kind, t.missing, d.name, d.state
    FROM wms.transition t
    LEFT JOIN wms.task_directive d ON d.workflow_id = t.workflow_id AND d.number = t.number
    WHERE t.workflow_id = :workflow_id ORDER BY t.number
""")

_EDGES = statement("SELECT src, dst FROM wms.edge WHERE workflow_id = :workflow_id ORDER BY 1, 2")


async def net_of(db: Database, workflow_id: WorkflowId) -> pb.GetNetResponse | None:
    """Return a workflow's net at one moment, None if it has none. Raises NotFound."""
    async with db.transaction("repeatable_read", readonly=True) as tx:
        has_net = await tx.fetchval(_HAS_NET, workflow_id=workflow_id)
        if has_net is None:
            raise NotFound("workflow", workflow_id)
        if not has_net:
            return None
        transitions = await tx.fetch(_TRANSITIONS, workflow_id=workflow_id)
        edges = await tx.fetch(_EDGES, workflow_id=workflow_id)
    return pb.GetNetResponse(
        transitions=[
            pb.NetTransition(
                number=row["number"],
                task=row["name"],
                kind=TASK_KIND_UNSPECIFIED if row["kind"] == JOIN else KIND[row["kind"]],
                state=STATE[TaskState(row["state"]) if row["state"] else None],
                n_missing=row["missing"],
            )
            for row in transitions
        ],
        places=[pb.NetPlace(**{"from": row["src"], "to": row["dst"]}) for row in edges],
    )
