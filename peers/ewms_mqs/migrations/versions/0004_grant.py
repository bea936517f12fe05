"""Granting queues as one call of a function: a grant is on the way of every submission."""

from alembic import op

revision = "0004"
down_revision = "0003"

# The entry comes first: it waits for another request of the same workflow, so that the later one
# counts nothing. The room's row is locked last but for what depends on it, since every grant of
# every process passes through it.
GRANT = """
CREATE FUNCTION mqs.grant_queues(
  p_workflow text, p_broker text, p_limit bigint,
  p_mqids text[], p_aliases text[], p_publics boolean[]
) RETURNS TABLE (
  outcome text, queue_no integer, mqid text, workflow_id text, alias text, is_public boolean
)
LANGUAGE plpgsql SET search_path = mqs, pg_catalog AS $$
#variable_conflict use_column
DECLARE
  n CONSTANT integer := cardinality(p_mqids);
BEGIN
  INSERT INTO mqs.workflows (workflow_id, grant_time) VALUES (p_workflow, now())
  ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    outcome := CASE WHEN EXISTS (
      SELECT FROM mqs.workflows WHERE workflow_id = p_workflow AND release_time IS NOT NULL
    ) THEN 'released' ELSE 'before' END;
    RETURN NEXT;
    RETURN;
  END IF;
  UPDATE mqs.room SET n_queues = n_queues + n WHERE n_queues + n <= p_limit;
  IF NOT FOUND THEN
    DELETE FROM mqs.workflows WHERE workflow_id = p_workflow;
    outcome := 'no room';
    RETURN NEXT;
    RETURN;
  END IF;
  RETURN QUERY
  WITH granted AS (
    INSERT INTO mqs.queues AS q (mqid, workflow_id, ordinal, alias, is_public)
    SELECT s.mqid, p_workflow, s.ordinal, s.alias, s.is_public
    FROM unnest(p_mqids, p_aliases, p_publics)
      WITH ORDINALITY AS s (mqid, alias, is_public, ordinal)
    RETURNING q.queue_no, q.mqid, q.workflow_id, q.ordinal, q.alias, q.is_public
  ), counted AS (
    INSERT INTO mqs.counts (queue_no) SELECT queue_no FROM granted
  ), declared AS (
    INSERT INTO mqs.rabbit_queues (mqid, queue_no)
    SELECT mqid, queue_no FROM granted WHERE p_broker = 'rabbitmq'
    ON CONFLICT DO NOTHING
  )
  SELECT 'granted', g.queue_no, g.mqid, g.workflow_id, g.alias, g.is_public
  FROM granted g ORDER BY g.ordinal;
END $$;
"""
COMMENT = """
COMMENT ON FUNCTION mqs.grant_queues IS
  'Grants a workflow its queues: all of them, or none for want of room. What a broker elsewhere is
to declare is written down here and declared after the commit.'
"""


def upgrade() -> None:
    """Create the function."""
    connection = op.get_bind()
    for command in (GRANT, COMMENT):
        connection.exec_driver_sql(command)
