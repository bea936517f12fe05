"""A workflow's attention: read what it is made of, and write what the domain makes of that.

Whoever changes one of the causes calls `note_attention` in the same revision. The workflow's lock
is enough: nothing that is read here is written without it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ewms_postgres.statements import statement
from wms_grpc.domain.attention import Crew, DeadLetters, Situation, Task, attention
from wms_grpc.domain.ids import WorkflowId
from wms_grpc.domain.model import Phase
from wms_grpc.storage.revision_write import write_changed
from wms_grpc.storage.revisions import RevisionSet

__all__ = ["note_attention"]

_TASKS = statement("""
    SELECT d.task_id, d.name FROM wms.task_directive d
    WHERE d.workflow_id = :workflow_id AND NOT d.is_done
      AND (d.state IS NULL OR d.state = 'RUNNING')
      -- A job that has ended is for the engine to judge, and lacks nobody.
      AND (NOT d.spec ? 'work' OR EXISTS (
        SELECT FROM wms.taskforce t
        WHERE t.task_id = d.task_id AND t.phase NOT IN ('CONDOR_COMPLETE', 'FAILED')))
    ORDER BY d.number
""")

# What is large is read of those alone that are spoken of.
_CREWS = statement("""
    SELECT taskforce_uuid, task_id,
      CASE WHEN phase = 'PENDING_STOPPER' AND n_failures > 0 THEN phase_log END AS failures,
      CASE WHEN is_held THEN compound_statuses END AS held
    FROM wms.taskforce
    WHERE workflow_id = :workflow_id AND phase NOT IN ('CONDOR_COMPLETE', 'FAILED')
    ORDER BY taskforce_uuid
""")

_DEAD_LETTERS = statement("""
    SELECT alias, n_dead, is_drained FROM wms.queue
    WHERE workflow_id = :workflow_id AND n_dead > 0 ORDER BY number
""")


async def note_attention(revisions: RevisionSet, workflow_id: WorkflowId) -> None:
    """Say in a locked workflow what its user should look at now."""
    revision = revisions[workflow_id]
    await write_changed(revisions.tx, revisions.changed)
    has_ended = revision.workflow.state.is_terminal
    tasks = [] if has_ended else await revisions.tx.fetch(_TASKS, workflow_id=workflow_id)
    crews = await revisions.tx.fetch(_CREWS, workflow_id=workflow_id)
    dead = await revisions.tx.fetch(_DEAD_LETTERS, workflow_id=workflow_id)
    situation = Situation(
        has_ended=has_ended,
        is_held_by_user=revision.workflow.hold_running,
        tasks=[Task(row["task_id"], row["name"]) for row in tasks],
        crews=[
            Crew(row["taskforce_uuid"], row["task_id"], _last_error(row["failures"]), row["held"])
            for row in crews
        ],
        dead_letters=[DeadLetters(row["alias"], row["n_dead"], row["is_drained"]) for row in dead],
    )
    revision.workflow = replace(revision.workflow, attention=attention(situation))


def _last_error(phase_log: list[dict[str, Any]] | None) -> str | None:
    """Return why the last removal failed, None if there is no log of failures."""
    if phase_log is None:
        return None
    errors = (e["why"] for e in reversed(phase_log) if e["to"] == Phase.CONDOR_RM and not e["ok"])
    return next(errors, "")
