"""Dead letters: counted in the register, kept beyond a private release, put back at once."""

from alembic import op

revision = "0002"
down_revision = "0001"

TABLES = """
ALTER TABLE mqs.queues ADD COLUMN n_dead bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN mqs.queues.n_dead IS 'Its dead letters, as of the last sum of its counts.';
UPDATE mqs.queues q SET n_dead = c.dead FROM mqs.counts c
  WHERE c.queue_no = q.queue_no AND c.dead > 0;

CREATE TABLE mqs.graves (
  queue_no integer PRIMARY KEY,
  mqid text NOT NULL UNIQUE,
  workflow_id text NOT NULL,
  alias text NOT NULL,
  n_dead bigint NOT NULL,
  keep_until timestamptz NOT NULL
);
COMMENT ON TABLE mqs.graves IS
  'Private queues that are released, for as long as their dead letters can be read.';
CREATE INDEX graves_by_age ON mqs.graves (keep_until);

CREATE TABLE mqs.requeues (
  queue_no integer NOT NULL,
  request_id text NOT NULL,
  content_hash text NOT NULL,
  n_requeued integer NOT NULL,
  request_time timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (queue_no, request_id)
);
COMMENT ON TABLE mqs.requeues IS 'Requests that put named dead letters back: a repeat is harmless.';
CREATE INDEX requeues_by_age ON mqs.requeues (request_time);

DROP FUNCTION mqs.requeue_dead(integer, bigint[], integer);
"""

# With numbers it is all or nothing: they are locked first, in their order, and looked up by a
# later statement, whose snapshot shows those that another request has put back meanwhile as gone.
REQUEUE = """
CREATE FUNCTION mqs.requeue_dead(
  p_queue integer, p_dead_nos bigint[], p_request text, p_limit integer
) RETURNS TABLE (outcome text, n integer, missing bigint[])
LANGUAGE plpgsql SET search_path = mqs, pg_catalog AS $$
DECLARE
  v_drained boolean;
  v_hash text := md5(p_dead_nos::text);
  v_known text;
BEGIN
  PERFORM pg_advisory_xact_lock_shared(5067603, p_queue);
  SELECT drain_time IS NOT NULL INTO v_drained FROM mqs.queues WHERE queue_no = p_queue;
  n := 0; missing := '{}';
  IF v_drained IS NULL THEN outcome := 'absent'; RETURN NEXT; RETURN; END IF;
  IF p_dead_nos IS NOT NULL THEN
    PERFORM FROM mqs.dead_letters
    WHERE queue_no = p_queue AND dead_no = ANY (p_dead_nos) ORDER BY dead_no FOR UPDATE;
    SELECT r.content_hash, r.n_requeued INTO v_known, n FROM mqs.requeues r
    WHERE r.queue_no = p_queue AND r.request_id = p_request;
    IF v_known IS NOT NULL THEN
      outcome := CASE WHEN v_known = v_hash THEN 'requeued' ELSE 'taken' END;
      RETURN NEXT; RETURN;
    END IF;
    n := 0;
  END IF;
  IF v_drained THEN outcome := 'drained'; RETURN NEXT; RETURN; END IF;
  missing := ARRAY(
    SELECT d FROM unnest(p_dead_nos) d
    WHERE NOT EXISTS (
      SELECT FROM mqs.dead_letters l WHERE l.queue_no = p_queue AND l.dead_no = d)
    ORDER BY d
  );
  IF cardinality(missing) > 0 THEN outcome := 'unknown'; RETURN NEXT; RETURN; END IF;
  WITH chosen AS (
    SELECT dead_no FROM mqs.dead_letters
    WHERE queue_no = p_queue AND (p_dead_nos IS NULL OR dead_no = ANY (p_dead_nos))
    ORDER BY dead_no
    LIMIT p_limit
    FOR UPDATE SKIP LOCKED
  ), gone AS (
    DELETE FROM mqs.dead_letters l USING chosen c WHERE l.dead_no = c.dead_no
    RETURNING l.*
  )
  INSERT INTO mqs.events (event_no, position, publish_time, queue_no, claim_no, body)
  SELECT event_no, nextval('mqs.event_no'), publish_time, queue_no, claim_no, body
  FROM (SELECT * FROM gone ORDER BY dead_no) g;
  GET DIAGNOSTICS n = ROW_COUNT;
  IF n > 0 THEN
    INSERT INTO mqs.tallies (queue_no, depth, dead) VALUES (p_queue, n, -n);
    IF p_dead_nos IS NOT NULL AND p_request <> '' THEN
      INSERT INTO mqs.requeues (queue_no, request_id, content_hash, n_requeued)
      VALUES (p_queue, p_request, v_hash, n);
    END IF;
  END IF;
  outcome := 'requeued';
  RETURN NEXT;
END $$;
"""


def upgrade() -> None:
    """Count dead letters in the register, and let them outlive a private queue."""
    connection = op.get_bind()
    for command in TABLES.split(";\n"):
        if command.strip():
            connection.exec_driver_sql(command)
    connection.exec_driver_sql(REQUEUE)
