"""Queues, their events, and what keeps them right: the first schema of the MQS."""

from alembic import op

revision = "0001"
down_revision = None

REGISTER = """
CREATE TABLE mqs.workflows (
  workflow_id text PRIMARY KEY,
  grant_time timestamptz,
  release_time timestamptz
);
COMMENT ON TABLE mqs.workflows IS
  'Who was granted queues. Released, a row is the tombstone that refuses a late request.';
CREATE INDEX workflows_released ON mqs.workflows (release_time) WHERE release_time IS NOT NULL;

CREATE TABLE mqs.queues (
  queue_no integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  mqid text NOT NULL UNIQUE,
  workflow_id text NOT NULL REFERENCES mqs.workflows,
  ordinal integer NOT NULL,
  alias text NOT NULL,
  is_public boolean NOT NULL,
  close_time timestamptz,
  drain_time timestamptz,
  keep_until timestamptz,
  change_time timestamptz NOT NULL DEFAULT now(),
  CHECK (drain_time IS NULL OR close_time IS NOT NULL)
);
COMMENT ON COLUMN mqs.queues.keep_until IS 'Set by the release: until then it may still be read.';
COMMENT ON COLUMN mqs.queues.change_time IS 'When it was last granted, closed, drained or kept.';
CREATE INDEX queues_of_workflow ON mqs.queues (workflow_id, ordinal);
CREATE INDEX queues_changed ON mqs.queues (change_time);
CREATE INDEX queues_draining ON mqs.queues (queue_no)
  WHERE close_time IS NOT NULL AND drain_time IS NULL;
CREATE INDEX queues_kept ON mqs.queues (keep_until) WHERE keep_until IS NOT NULL;

CREATE TABLE mqs.room (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  n_queues bigint NOT NULL
);
COMMENT ON TABLE mqs.room IS
  'How many queues there are. Grants pass one after the other through this row''s lock.';
INSERT INTO mqs.room (n_queues) VALUES (0);

CREATE TABLE mqs.keys (
  kid text PRIMARY KEY,
  purpose text NOT NULL CHECK (purpose IN ('token', 'credential')),
  secret text NOT NULL,
  create_time timestamptz NOT NULL DEFAULT now(),
  expire_time timestamptz
);
COMMENT ON COLUMN mqs.keys.expire_time IS
  'When the last token that it can have signed has expired; null for a key without end.';

CREATE TABLE mqs.revocations (
  workflow_id text NOT NULL,
  taskforce_uuid text NOT NULL,
  revoke_time timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (workflow_id, taskforce_uuid)
);

CREATE TABLE mqs.processes (
  process_id uuid PRIMARY KEY,
  beat_time timestamptz NOT NULL,
  grace_until timestamptz NOT NULL
);
COMMENT ON TABLE mqs.processes IS
  'The MQS processes. While one is silent, or has just come back, no lease runs out.';
"""

# A claim changes indexed columns, so there are no HOT updates to leave room for; what keeps the
# table small is vacuum that comes early and does not pause.
EVENTS = """
CREATE SEQUENCE mqs.event_no;
CREATE TABLE mqs.events (
  event_no bigint NOT NULL,
  position bigint NOT NULL,
  lease_until timestamptz,
  publish_time timestamptz NOT NULL DEFAULT now(),
  queue_no integer NOT NULL,
  claim_no integer NOT NULL DEFAULT 0,
  n_deliveries integer NOT NULL DEFAULT 0,
  is_held boolean NOT NULL DEFAULT false,
  body bytea NOT NULL,
  PRIMARY KEY (queue_no, event_no)
) WITH (
  autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 2000,
  autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.2,
  toast.autovacuum_vacuum_scale_factor = 0.05, toast.autovacuum_vacuum_cost_delay = 0
);
-- Files of physics are compressed already.
ALTER TABLE mqs.events ALTER COLUMN body SET STORAGE EXTERNAL;
COMMENT ON TABLE mqs.events IS 'What waits (no lease) and what is delivered and not settled.';
COMMENT ON COLUMN mqs.events.position IS 'Its place in the queue; a retry goes to the end.';
COMMENT ON COLUMN mqs.events.claim_no IS 'Counts claims; with event_no it makes the delivery id.';
COMMENT ON COLUMN mqs.events.n_deliveries IS 'Deliveries that count towards the dead letters.';
COMMENT ON COLUMN mqs.events.is_held IS 'Extended apart from its stream, whose end it outlives.';
COMMENT ON COLUMN mqs.events.body IS 'The ewms.mqs.v1.Event as it was published.';
CREATE INDEX events_ready ON mqs.events (queue_no, position) WHERE lease_until IS NULL;
CREATE INDEX events_leased ON mqs.events (lease_until) WHERE lease_until IS NOT NULL;

CREATE TABLE mqs.remembered (
  queue_no integer NOT NULL,
  event_hash bytea NOT NULL,
  publish_time timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (queue_no, event_hash)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE mqs.remembered IS 'Event ids given by publishers, for dropping repeats.';
CREATE INDEX remembered_by_age ON mqs.remembered (publish_time);

CREATE TABLE mqs.dead_letters (
  dead_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  queue_no integer NOT NULL,
  event_no bigint NOT NULL,
  claim_no integer NOT NULL,
  n_deliveries integer NOT NULL,
  publish_time timestamptz NOT NULL,
  dead_time timestamptz NOT NULL DEFAULT now(),
  reason text NOT NULL,
  body bytea NOT NULL
);
ALTER TABLE mqs.dead_letters ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE INDEX dead_letters_of_queue ON mqs.dead_letters (queue_no, dead_no);
CREATE INDEX dead_letters_by_event ON mqs.dead_letters (queue_no, event_no);

CREATE TABLE mqs.garbage (
  queue_no integer PRIMARY KEY
);
COMMENT ON TABLE mqs.garbage IS 'Queues that are gone and whose events are still to be deleted.';

CREATE TABLE mqs.counts (
  queue_no integer PRIMARY KEY,
  published bigint NOT NULL DEFAULT 0,
  depth bigint NOT NULL DEFAULT 0,
  in_flight bigint NOT NULL DEFAULT 0,
  done bigint NOT NULL DEFAULT 0,
  dead bigint NOT NULL DEFAULT 0,
  change_time timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
CREATE INDEX counts_changed ON mqs.counts (change_time);
CREATE INDEX counts_kept ON mqs.counts (queue_no) WHERE depth + in_flight + dead > 0;

CREATE TABLE mqs.tallies (
  queue_no integer NOT NULL,
  published integer NOT NULL DEFAULT 0,
  depth integer NOT NULL DEFAULT 0,
  in_flight integer NOT NULL DEFAULT 0,
  done integer NOT NULL DEFAULT 0,
  dead integer NOT NULL DEFAULT 0
) WITH (
  autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
  autovacuum_vacuum_cost_delay = 0
);
COMMENT ON TABLE mqs.tallies IS
  'Changes to counts, appended by each batch (a row of counts would be fought over), summed later.';
"""

# Why functions: a lock must be held before the snapshot is taken that reads whether the queue is
# closed, and in a function each statement has a snapshot of its own: one round trip instead of
# four. A row lock (FOR SHARE) would re-read the row as well, but every publisher would then write
# to that one row, and concurrent ones a multixact each. The class 5067603 is 'MQS' in ASCII.
#
# Why SET: a plan made while the table was empty prefers a sequential scan, and stays cached
# while it fills.
PUBLISH = """
CREATE FUNCTION mqs.publish(p_queue integer, p_hashes bytea[], p_bodies bytea[])
RETURNS TABLE (outcome text, repeated bytea[])
LANGUAGE plpgsql SET search_path = mqs, pg_catalog AS $$
DECLARE
  v_closed boolean;
  v_new bytea[];
  v_repeated bytea[] := '{}';
  n integer;
BEGIN
  PERFORM pg_advisory_xact_lock_shared(5067603, p_queue);
  SELECT close_time IS NOT NULL INTO v_closed FROM mqs.queues WHERE queue_no = p_queue;
  IF v_closed IS NULL THEN RETURN QUERY SELECT 'absent'::text, v_repeated; RETURN; END IF;
  IF v_closed THEN RETURN QUERY SELECT 'closed'::text, v_repeated; RETURN; END IF;
  -- In the order of the hashes, so that two publishers of the same ids never wait in a circle.
  WITH fresh AS (
    INSERT INTO mqs.remembered AS r (queue_no, event_hash)
    SELECT p_queue, h FROM unnest(p_hashes) h WHERE h IS NOT NULL ORDER BY h
    ON CONFLICT DO NOTHING
    RETURNING r.event_hash
  ) SELECT coalesce(array_agg(event_hash), '{}') INTO v_new FROM fresh;
  IF cardinality(v_new) < (SELECT count(h) FROM unnest(p_hashes) h) THEN
    v_repeated := ARRAY(
      SELECT h FROM unnest(p_hashes) h WHERE h IS NOT NULL EXCEPT SELECT unnest(v_new)
    );
  END IF;
  INSERT INTO mqs.events (event_no, position, queue_no, body)
  SELECT i.no, i.no, p_queue, i.body
  FROM (
    SELECT nextval('mqs.event_no') AS no, e.body
    FROM unnest(p_hashes, p_bodies) AS e (h, body)
    WHERE NOT EXISTS (SELECT FROM unnest(v_repeated) r (h) WHERE r.h = e.h)
  ) i;
  GET DIAGNOSTICS n = ROW_COUNT;
  IF n > 0 THEN
    INSERT INTO mqs.tallies (queue_no, published, depth) VALUES (p_queue, n, n);
  END IF;
  RETURN QUERY SELECT 'published'::text, v_repeated;
END $$;
"""

CLAIM = """
CREATE FUNCTION mqs.claim(
  p_queue integer, p_limit integer, p_max_bytes bigint, p_lease interval
) RETURNS TABLE (
  place bigint, event_no bigint, claim_no integer, n_deliveries integer,
  publish_time timestamptz, n_ready bigint, body bytea
)
LANGUAGE plpgsql SET search_path = mqs, pg_catalog
SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
  n integer;
BEGIN
  RETURN QUERY
  WITH candidate AS MATERIALIZED (
    SELECT e.ctid AS at, e.position AS place, octet_length(e.body) AS size
    FROM mqs.events e
    WHERE e.queue_no = p_queue AND e.lease_until IS NULL
    ORDER BY e.position
    LIMIT p_limit
    FOR UPDATE SKIP LOCKED
  ), measured AS (
    SELECT c.at, row_number() OVER w AS nth, sum(c.size) OVER w AS bytes, count(*) OVER () AS n
    FROM candidate c
    WINDOW w AS (ORDER BY c.place ROWS UNBOUNDED PRECEDING)
  )
  UPDATE mqs.events e
  SET lease_until = now() + p_lease, claim_no = e.claim_no + 1,
      n_deliveries = e.n_deliveries + 1, is_held = false
  FROM measured m
  WHERE e.ctid = m.at AND (m.nth = 1 OR m.bytes <= p_max_bytes)
  RETURNING e.position, e.event_no, e.claim_no, e.n_deliveries, e.publish_time, m.n, e.body;
  GET DIAGNOSTICS n = ROW_COUNT;
  IF n > 0 THEN
    INSERT INTO mqs.tallies (queue_no, depth, in_flight) VALUES (p_queue, -n, n);
  END IF;
END $$;
"""

# The queue's shared lock makes every settlement either end before a close begins, whose own check
# then sees it, or see the queue closed and be followed by a check: no drain is missed.
SETTLE = """
CREATE FUNCTION mqs.settle(
  p_queue integer, p_lease interval, p_max_deliveries integer,
  p_ack_nos bigint[], p_ack_claims integer[],
  p_nack_nos bigint[], p_nack_claims integer[], p_nack_requeue boolean[], p_nack_reasons text[],
  p_extend_nos bigint[], p_extend_claims integer[], p_extend_held boolean[]
) RETURNS TABLE (
  is_closed boolean, n_requeued integer, acked bigint[], refused bigint[], extended bigint[]
)
LANGUAGE plpgsql SET search_path = mqs, pg_catalog
SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  v_dead bigint[] := '{}';
BEGIN
  PERFORM pg_advisory_xact_lock_shared(5067603, p_queue);
  SELECT close_time IS NOT NULL INTO is_closed FROM mqs.queues WHERE queue_no = p_queue;
  acked := '{}'; refused := '{}'; extended := '{}'; n_requeued := 0;
  IF cardinality(p_ack_nos) > 0 THEN
    WITH gone AS (
      DELETE FROM mqs.events e
      USING unnest(p_ack_nos, p_ack_claims) AS d (event_no, claim_no)
      WHERE e.queue_no = p_queue AND e.event_no = d.event_no AND e.claim_no = d.claim_no
        AND e.lease_until IS NOT NULL
      RETURNING e.event_no
    ) SELECT coalesce(array_agg(event_no), '{}') INTO acked FROM gone;
  END IF;
  IF cardinality(p_nack_nos) > 0 THEN
    WITH gone AS (
      DELETE FROM mqs.events e
      USING unnest(p_nack_nos, p_nack_claims, p_nack_requeue, p_nack_reasons)
        AS d (event_no, claim_no, requeue, reason)
      WHERE e.queue_no = p_queue AND e.event_no = d.event_no AND e.claim_no = d.claim_no
        AND e.lease_until IS NOT NULL
        AND (NOT d.requeue OR e.n_deliveries >= p_max_deliveries)
      RETURNING e.*, d.reason
    ), dead AS (
      INSERT INTO mqs.dead_letters AS l
        (queue_no, event_no, claim_no, n_deliveries, publish_time, reason, body)
      SELECT queue_no, event_no, claim_no, n_deliveries, publish_time, reason, body FROM gone
      RETURNING l.event_no
    ) SELECT coalesce(array_agg(event_no), '{}') INTO v_dead FROM dead;
    WITH back AS (
      UPDATE mqs.events e
      SET lease_until = NULL, position = nextval('mqs.event_no')
      FROM unnest(p_nack_nos, p_nack_claims) AS d (event_no, claim_no)
      WHERE e.queue_no = p_queue AND e.event_no = d.event_no AND e.claim_no = d.claim_no
        AND e.lease_until IS NOT NULL
      RETURNING e.event_no
    ) SELECT coalesce(array_agg(event_no), '{}') INTO refused FROM back;
    n_requeued := cardinality(refused);
    refused := refused || v_dead;
  END IF;
  IF cardinality(p_extend_nos) > 0 THEN
    WITH longer AS (
      UPDATE mqs.events e
      SET lease_until = now() + p_lease, is_held = e.is_held OR d.is_held
      FROM unnest(p_extend_nos, p_extend_claims, p_extend_held) AS d (event_no, claim_no, is_held)
      WHERE e.queue_no = p_queue AND e.event_no = d.event_no AND e.claim_no = d.claim_no
        AND e.lease_until IS NOT NULL
      RETURNING e.event_no
    ) SELECT coalesce(array_agg(event_no), '{}') INTO extended FROM longer;
  END IF;
  IF cardinality(acked) + cardinality(refused) > 0 THEN
    INSERT INTO mqs.tallies (queue_no, depth, in_flight, done, dead)
    VALUES (
      p_queue, n_requeued, -cardinality(acked) - cardinality(refused),
      cardinality(acked), cardinality(v_dead)
    );
  END IF;
  RETURN NEXT;
END $$;

CREATE FUNCTION mqs.give_back(p_queue integer, p_nos bigint[], p_claims integer[])
RETURNS integer
LANGUAGE plpgsql SET search_path = mqs, pg_catalog
SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  n integer;
BEGIN
  UPDATE mqs.events e
  SET lease_until = NULL, n_deliveries = e.n_deliveries - 1
  FROM unnest(p_nos, p_claims) AS d (event_no, claim_no)
  WHERE e.queue_no = p_queue AND e.event_no = d.event_no AND e.claim_no = d.claim_no
    AND e.lease_until IS NOT NULL AND NOT e.is_held;
  GET DIAGNOSTICS n = ROW_COUNT;
  IF n > 0 THEN
    INSERT INTO mqs.tallies (queue_no, depth, in_flight) VALUES (p_queue, n, -n);
  END IF;
  RETURN n;
END $$;
"""

EXPIRE = """
CREATE FUNCTION mqs.expire_leases(
  p_process uuid, p_silence interval, p_lease interval, p_max_deliveries integer, p_limit integer
) RETURNS TABLE (queue_no integer, n_ready integer, n_dead integer)
LANGUAGE plpgsql SET search_path = mqs, pg_catalog
SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
BEGIN
  IF NOT EXISTS (
    SELECT FROM mqs.processes p
    WHERE p.process_id = p_process AND p.beat_time >= clock_timestamp() - p_silence
  ) OR EXISTS (
    SELECT FROM mqs.processes p
    WHERE p.grace_until > clock_timestamp() OR (
      p.beat_time < clock_timestamp() - p_silence
      AND p.beat_time > clock_timestamp() - p_silence - p_lease
    )
  ) THEN RETURN; END IF;
  RETURN QUERY
  WITH candidate AS MATERIALIZED (
    SELECT e.ctid AS at, e.n_deliveries >= p_max_deliveries AS is_dead
    FROM mqs.events e
    WHERE e.lease_until < now()
    ORDER BY e.lease_until
    LIMIT p_limit
    FOR UPDATE SKIP LOCKED
  ), back AS (
    UPDATE mqs.events e
    SET lease_until = NULL, position = nextval('mqs.event_no')
    FROM candidate c
    WHERE e.ctid = c.at AND NOT c.is_dead
    RETURNING e.queue_no
  ), gone AS (
    DELETE FROM mqs.events e USING candidate c WHERE e.ctid = c.at AND c.is_dead
    RETURNING e.*
  ), dead AS (
    INSERT INTO mqs.dead_letters AS l
      (queue_no, event_no, claim_no, n_deliveries, publish_time, reason, body)
    SELECT queue_no, event_no, claim_no, n_deliveries, publish_time, 'its lease ran out', body
    FROM gone
    RETURNING l.queue_no
  ), summed AS (
    SELECT b.queue_no, sum(b.ready)::integer AS ready, sum(b.dead)::integer AS dead
    FROM (
      SELECT queue_no, 1 AS ready, 0 AS dead FROM back
      UNION ALL SELECT queue_no, 0, 1 FROM dead
    ) b
    GROUP BY b.queue_no
  ), tallied AS (
    INSERT INTO mqs.tallies (queue_no, depth, in_flight, dead)
    SELECT queue_no, ready, -ready - dead, dead FROM summed
  )
  SELECT s.queue_no, s.ready, s.dead FROM summed s;
END $$;
"""

REQUEUE = """
CREATE FUNCTION mqs.requeue_dead(p_queue integer, p_dead_nos bigint[], p_limit integer)
RETURNS TABLE (outcome text, n integer)
LANGUAGE plpgsql SET search_path = mqs, pg_catalog AS $$
DECLARE
  v_drained boolean;
BEGIN
  PERFORM pg_advisory_xact_lock_shared(5067603, p_queue);
  SELECT drain_time IS NOT NULL INTO v_drained FROM mqs.queues WHERE queue_no = p_queue;
  IF v_drained IS NULL THEN RETURN QUERY SELECT 'absent'::text, 0; RETURN; END IF;
  IF v_drained THEN RETURN QUERY SELECT 'drained'::text, 0; RETURN; END IF;
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
  END IF;
  outcome := 'requeued';
  RETURN NEXT;
END $$;
"""


def upgrade() -> None:
    """Create the register, the events and the functions."""
    connection = op.get_bind()
    for script in (REGISTER, EVENTS, PUBLISH, CLAIM, SETTLE, EXPIRE, REQUEUE):
        for command in _commands(script):
            connection.exec_driver_sql(command)


def _commands(script: str) -> list[str]:
    """Split at the semicolons outside of function bodies; the driver takes one at a time."""
    commands, current, in_body = [], "", False
    for line in script.splitlines():
        in_body ^= line.count("$$") % 2 == 1
        current += line + "\n"
        if line.rstrip().endswith(";") and not in_body:
            commands.append(current)
            current = ""
    return commands
