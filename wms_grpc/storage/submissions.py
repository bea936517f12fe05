"""Submissions: a workflow with all that belongs to it, in one statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from ewms.wms.v1 import task_pb2, taskforce_pb2, watch_pb2, workflow_pb2
from ewms_postgres.database import Database
from ewms_postgres.errors import UniqueViolation
from ewms_postgres.statements import statement
from wms_grpc.domain.errors import NotFound
from wms_grpc.domain.ids import WorkflowId
from wms_grpc.domain.topics import ACTIVATION, FIRING
from wms_grpc.domain.translation import Plan
from wms_grpc.storage import messages
from wms_grpc.storage.encoded_revisions import CommittedPart, encode_revision, feed_arguments
from wms_grpc.storage.nets import insert_net
from wms_grpc.storage.queues import directives_of, queues_of
from wms_grpc.storage.records import (
    directive_spec,
    phase_log_json,
    taskforce_from,
    taskforce_spec,
    workflow_from,
)
from wms_grpc.storage.requests import RequestKey
from wms_grpc.storage.store import Store

__all__ = ["CLAIM", "Submitted", "insert_plan", "messages_of", "submitted_of"]

CLAIM: Final = timedelta(seconds=30)
"""For how long a workflow is one process's, while that asks the MQS on its behalf."""

_INSERT = statement("""
    WITH workflow AS (
      INSERT INTO wms.workflow (workflow_id, owner, name, labels, priority, state, pending_reason,
        create_time, revision, n_tasks, n_taskforces, n_unended, active_time, activation_due,
        claim_until, has_net)
      VALUES (:workflow_id, :owner, :name, :labels, :priority, :state, :pending_reason,
        :create_time, 1, :n_tasks, :n_taskforces, :n_taskforces, :active_time, :activation_due,
        now() + :claim::interval, :has_net)
    ), request AS (
      INSERT INTO wms.request (owner, rpc, request_id, content_hash, workflow_id, subject)
      SELECT :owner, :rpc, :request_id, :content_hash, :workflow_id, :workflow_id
      WHERE :request_id::text <> ''
    ), directives AS (
      INSERT INTO wms.task_directive (task_id, workflow_id, number, create_time, name, task_image,
        n_workers, spec, state)
      SELECT d.task_id, :workflow_id, d.number, :create_time, d.name, d.task_image, d.n_workers,
        d.spec, CASE WHEN :has_net THEN 'WAITING' END
      FROM unnest(:d_id::text[], :d_number::int[], :d_name::text[], :d_image::text[],
        :d_n_workers::int[], :d_spec::jsonb[])
        AS d (task_id, number, name, task_image, n_workers, spec)
    ), queues AS (
      INSERT INTO wms.queue (mqid, workflow_id, number, alias, is_public)
      SELECT q.mqid, :workflow_id, q.number, q.alias, q.is_public
      FROM unnest(:q_id::text[], :q_number::int[], :q_alias::text[], :q_is_public::bool[])
        AS q (mqid, number, alias, is_public)
    ), taskforces AS (
      INSERT INTO wms.taskforce (taskforce_uuid, workflow_id, task_id, create_time, priority,
        cluster_location, schedd, n_workers, spec, phase, phase_log, waiting_reason)
      SELECT t.uuid, :workflow_id, t.task_id, :create_time, :priority, t.location, t.schedd,
        t.n_workers, t.spec, t.phase, t.phase_log, t.waiting_reason
      FROM unnest(:t_id::text[], :t_task::text[], :t_location::text[], :t_schedd::text[],
        :t_n_workers::int[], :t_spec::jsonb[], :t_phase::text[], :t_phase_log::jsonb[],
        :t_waiting_reason::text[])
        AS t (uuid, task_id, location, schedd, n_workers, spec, phase, phase_log, waiting_reason)
    ), feed AS (
      INSERT INTO wms.feed (workflow_id, revision, part, is_last, time, body, before, after)
      SELECT * FROM unnest(
        :f_workflow::text[], :f_revision::bigint[], :f_part::int[], :f_is_last::bool[],
        :f_time::timestamptz[], :f_body::bytea[], :f_before::jsonb[], :f_after::jsonb[])
    ), outbox AS (
      INSERT INTO wms.outbox (workflow_id, revision) VALUES (:workflow_id, 1)
    )
    INSERT INTO wms.history (workflow_id, revision, time, kind, subject, what, source, reason,
                             was_successful)
    VALUES (:workflow_id, 1, :create_time, 'REQUEST', :workflow_id, 'SubmitWorkflow', :source, '',
            true)
""")


_WORKFLOW = statement("SELECT * FROM wms.workflow WHERE workflow_id = :workflow_id")

_TASKFORCES = statement("""
    SELECT * FROM wms.taskforce WHERE workflow_id = :workflow_id ORDER BY taskforce_uuid
""")


@dataclass(frozen=True, slots=True)
class Submitted:
    """A plan as the contract's messages."""

    workflow: workflow_pb2.Workflow
    directives: Sequence[task_pb2.TaskDirective]
    taskforces: Sequence[taskforce_pb2.Taskforce]
    queues: Sequence[workflow_pb2.Queue]


def messages_of(plan: Plan) -> Submitted:
    """Return the plan's messages."""
    return Submitted(
        messages.workflow_message(plan.workflow),
        [messages.task_directive_message(directive) for directive in plan.directives],
        [messages.taskforce_message(taskforce) for taskforce in plan.taskforces],
        [messages.queue_message(queue) for queue in plan.queues],
    )


async def insert_plan(
    store: Store, plan: Plan, submitted: Submitted, key: RequestKey, *, is_claimed: bool
) -> bool:
    """Write a workflow with its first revision, all or nothing, in one round trip.

    (One more for a net.) Returns False, having written nothing, if the request id was used
    before. With `is_claimed`
    the workflow is born claimed for activation: this process asks for its queues at once, and no
    other does the same.
    """
    parts = encode_revision(
        plan.workflow, _changes(submitted), plan.workflow.create_time, before=None
    )
    try:
        arguments = _arguments(plan, key, parts, is_claimed=is_claimed)
        if plan.net is None:
            await store.db.execute(_INSERT, **arguments)
        else:
            async with store.db.transaction() as tx:
                await tx.execute(_INSERT, **arguments)
                await insert_net(tx, plan.workflow.workflow_id, plan.net, is_ready=not plan.queues)
    except UniqueViolation as error:
        if error.constraint == "request_pkey":
            return False
        raise
    topics = set() if is_claimed or not plan.queues else {ACTIVATION}
    store.on_commit(parts, topics | ({FIRING} if plan.net else set()))
    return True


async def submitted_of(db: Database, workflow_id: WorkflowId) -> Submitted:
    """Return a workflow and what belongs to it, as it is now. Raises NotFound."""
    async with db.transaction("repeatable_read", readonly=True) as tx:
        workflow = await tx.fetchrow(_WORKFLOW, workflow_id=workflow_id)
        if workflow is None:
            raise NotFound("workflow", workflow_id)
        directives = (await directives_of(tx, [workflow_id]))[workflow_id]
        queues = (await queues_of(tx, [workflow_id]))[workflow_id]
        taskforces = await tx.fetch(_TASKFORCES, workflow_id=workflow_id)
    return Submitted(
        messages.workflow_message(workflow_from(workflow)),
        [messages.task_directive_message(directive) for directive in directives],
        [messages.taskforce_message(taskforce_from(row)) for row in taskforces],
        [messages.queue_message(queue) for queue in queues],
    )


def _changes(submitted: Submitted) -> list[watch_pb2.Change]:
    return [
        watch_pb2.Change(workflow=submitted.workflow),
        *(watch_pb2.Change(task_directive=directive) for directive in submitted.directives),
        *(watch_pb2.Change(taskforce=taskforce) for taskforce in submitted.taskforces),
        *(watch_pb2.Change(queue=queue) for queue in submitted.queues),
    ]


def _arguments(
    plan: Plan, key: RequestKey, parts: Sequence[CommittedPart], *, is_claimed: bool
) -> dict[str, object]:
    workflow = plan.workflow
    return {
        "workflow_id": workflow.workflow_id,
        "owner": workflow.owner,
        "name": workflow.name,
        "labels": workflow.labels,
        "priority": workflow.priority,
        "state": workflow.state,
        "pending_reason": workflow.pending_reason,
        "create_time": workflow.create_time,
        "n_tasks": workflow.n_tasks,
        "n_taskforces": workflow.n_taskforces,
        "active_time": workflow.active_time,
        "activation_due": workflow.activation_due,
        "has_net": workflow.has_net,
        "claim": CLAIM if is_claimed else timedelta(0),
        "source": f"user {workflow.owner}",
        "rpc": key.rpc,
        "request_id": key.request_id,
        "content_hash": key.content_hash,
        "d_id": [d.task_id for d in plan.directives],
        "d_number": [d.number for d in plan.directives],
        "d_name": [d.name for d in plan.directives],
        "d_image": [d.task_image for d in plan.directives],
        "d_n_workers": [d.n_workers for d in plan.directives],
        "d_spec": [directive_spec(d) for d in plan.directives],
        "q_id": [q.mqid for q in plan.queues],
        "q_number": [q.number for q in plan.queues],
        "q_alias": [q.alias for q in plan.queues],
        "q_is_public": [q.is_public for q in plan.queues],
        "t_id": [t.taskforce_uuid for t in plan.taskforces],
        "t_task": [t.task_id for t in plan.taskforces],
        "t_location": [t.cluster_location for t in plan.taskforces],
        "t_schedd": [t.schedd for t in plan.taskforces],
        "t_n_workers": [t.n_workers for t in plan.taskforces],
        "t_spec": [taskforce_spec(t) for t in plan.taskforces],
        "t_phase": [t.phase for t in plan.taskforces],
        "t_phase_log": [phase_log_json(t.phase_log) for t in plan.taskforces],
        "t_waiting_reason": [t.waiting_reason for t in plan.taskforces],
        **feed_arguments(parts),
    }
