"""How much there is of what an operator looks at, in one statement.

Counts what lives alone, by indexes that lead to it, so that it costs no more as a database ages.
"""

from __future__ import annotations

from ewms_postgres.database import Database
from ewms_postgres.statements import statement

__all__ = ["read_gauges"]

_GAUGES = statement("""
    SELECT 'workflows' AS gauge, ARRAY[s.state] AS labels, (
        SELECT count(*) FROM wms.workflow w WHERE w.state = s.state)::float8 AS value
      FROM unnest(ARRAY['PENDING', 'ACTIVE', 'PAUSED']) AS s (state)
    UNION ALL
    SELECT 'oldest_pending', ARRAY[]::text[],
      coalesce(extract(epoch FROM now() - min(create_time)), 0)
      FROM wms.workflow WHERE state = 'PENDING'
    UNION ALL
    SELECT 'taskforces', ARRAY[p.phase], (
        SELECT count(*) FROM wms.taskforce t WHERE t.phase = p.phase)
      FROM unnest(ARRAY['PRE_MQ_ACTIVATION', 'PRE_LAUNCH', 'PENDING_STARTER', 'CONDOR_SUBMIT',
        'PENDING_STOPPER', 'CONDOR_RM']) AS p (phase)
    UNION ALL
    SELECT 'assignments', ARRAY[schedd, CASE WHEN assigned_session IS NULL THEN 'unsent'
        ELSE 'unanswered' END], count(*)
      FROM wms.taskforce WHERE assignment IS NOT NULL GROUP BY 2
    UNION ALL
    SELECT 'agent_lease', ARRAY[schedd], extract(epoch FROM lease_until - now()) FROM wms.agent
    UNION ALL
    SELECT 'outbox', ARRAY[]::text[], count(*) FROM wms.outbox
""")


async def read_gauges(db: Database) -> dict[str, list[tuple[list[str], float]]]:
    """The values by gauge, each with its labels' values.

    `workflows` {state}, `oldest_pending` (seconds), `taskforces` {phase}, `assignments` {schedd,
    state}, `agent_lease` {schedd} (seconds left, negative when it has run out), `outbox`.
    """
    gauges: dict[str, list[tuple[list[str], float]]] = {}
    for name, labels, value in await db.fetch(_GAUGES):
        gauges.setdefault(name, []).append((labels, value))
    return gauges
