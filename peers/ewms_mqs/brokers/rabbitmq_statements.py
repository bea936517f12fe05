"""The SQL of the broker that is RabbitMQ, each statement with a name and a sentence."""

from __future__ import annotations

from ewms_postgres.statements import statement

__all__ = [
    "ALARM",
    "BROKER",
    "COPY_DEAD_LETTERS",
    "DECLARED",
    "DELETED",
    "DRAIN",
    "DRAINABLE",
    "GIVE_UP",
    "KNOWN_NAMES",
    "NOTE_SAMPLE",
    "RETURNED",
    "TAKE_RETURNS",
    "TO_DECLARE",
    "TO_DELETE",
    "UNDECLARE",
    "UNDECLARED",
    "UPDATE_SAMPLES",
]

# Write down, in the release's transaction, what is to be deleted after it.
GIVE_UP = statement("UPDATE mqs.rabbit_queues SET is_wanted = false WHERE queue_no = ANY (:queues)")

# Those of some queues that are not declared yet.
UNDECLARED = statement(
    """
    SELECT mqid, queue_no FROM mqs.rabbit_queues
    WHERE queue_no = ANY (:queues) AND declare_time IS NULL AND is_wanted
    """
)

# Queues that are to be declared, whoever began it.
TO_DECLARE = statement(
    """
    SELECT mqid, queue_no FROM mqs.rabbit_queues
    WHERE declare_time IS NULL AND is_wanted ORDER BY queue_no LIMIT :limit
    """
)

# RabbitMQ has these queues.
DECLARED = statement(
    "UPDATE mqs.rabbit_queues SET declare_time = now()"
    " WHERE mqid = ANY (:mqids) AND declare_time IS NULL"
)

# RabbitMQ has lost these queues: somebody deleted them, who may, or it was set up anew.
UNDECLARE = statement(
    """
    UPDATE mqs.rabbit_queues SET declare_time = NULL, empty_since = NULL
    WHERE is_wanted AND declare_time < now() - interval '30 seconds' AND NOT mqid = ANY (:mqids)
    RETURNING mqid
    """
)

# Queues that are to be deleted.
TO_DELETE = statement(
    "SELECT mqid, queue_no FROM mqs.rabbit_queues"
    " WHERE NOT is_wanted ORDER BY queue_no LIMIT :limit"
)

# RabbitMQ has them no more.
DELETED = statement("DELETE FROM mqs.rabbit_queues WHERE mqid = ANY (:mqids) AND NOT is_wanted")

# Those of some names that are queues of ours.
KNOWN_NAMES = statement("SELECT mqid FROM mqs.rabbit_queues WHERE mqid = ANY (:mqids)")

# The broker as it was last seen.
BROKER = statement("SELECT dead_queue, alarm FROM mqs.rabbit_broker")

# What it is short of, unless that is old news.
ALARM = statement(
    "SELECT alarm FROM mqs.rabbit_broker WHERE sample_time > now() - :max_gap::interval"
)

# A sample was taken. After a gap, nothing is known to have been quiet.
NOTE_SAMPLE = statement(
    """
    UPDATE mqs.rabbit_broker SET
      steady_since = CASE WHEN sample_time < now() - :max_gap::interval
        THEN now() ELSE steady_since END,
      sample_time = now(), alarm = :alarm
    """
)

# Depth and what is under way as sampled, what was published and acknowledged since; the row of a
# queue is locked, so that of two samplers each difference is counted once.
UPDATE_SAMPLES = statement(
    """
    WITH seen AS MATERIALIZED (
      SELECT r.mqid, r.queue_no, s.ready, s.unacked, s.published, s.acked,
        s.published - CASE WHEN s.published < r.raw_published THEN 0 ELSE r.raw_published END
          AS new_published,
        s.acked - CASE WHEN s.acked < r.raw_acked THEN 0 ELSE r.raw_acked END AS new_acked
      FROM mqs.rabbit_queues r
      JOIN unnest(:mqids::text[], :ready::bigint[], :unacked::bigint[],
        :published::bigint[], :acked::bigint[]) AS s (mqid, ready, unacked, published, acked)
        USING (mqid)
      WHERE r.is_wanted
      ORDER BY r.mqid
      FOR UPDATE OF r
    ), noted AS (
      UPDATE mqs.rabbit_queues r SET
        raw_published = s.published, raw_acked = s.acked,
        empty_since = CASE WHEN s.ready + s.unacked + s.new_published = 0
          THEN coalesce(r.empty_since, now()) END,
        n_late = r.n_late + CASE WHEN EXISTS (
          SELECT FROM mqs.queues q WHERE q.queue_no = s.queue_no AND q.drain_time IS NOT NULL
        ) THEN s.new_published ELSE 0 END
      FROM seen s
      WHERE r.mqid = s.mqid AND (
        r.raw_published <> s.published OR r.raw_acked <> s.acked
        OR (r.empty_since IS NULL) = (s.ready + s.unacked + s.new_published = 0))
    )
    UPDATE mqs.counts c SET
      depth = s.ready, in_flight = s.unacked, published = c.published + s.new_published,
      done = c.done + s.new_acked, change_time = now()
    FROM seen s
    WHERE c.queue_no = s.queue_no AND (
      c.depth <> s.ready OR c.in_flight <> s.unacked OR s.new_published + s.new_acked <> 0)
    """
)

_IS_DRAINABLE = """
  close_time <= now() - :quiet::interval AND drain_time IS NULL
  AND r.empty_since <= now() - :quiet::interval
  AND b.steady_since <= now() - :quiet::interval
  AND b.sample_time > now() - :max_gap::interval
  AND NOT EXISTS (SELECT FROM mqs.events e WHERE e.queue_no = q.queue_no)
"""

# Queues that can be marked as drained.
DRAINABLE = statement(
    f"""
    SELECT q.queue_no FROM mqs.queues q JOIN mqs.rabbit_queues r USING (queue_no)
      CROSS JOIN mqs.rabbit_broker b
    WHERE q.close_time IS NOT NULL AND {_IS_DRAINABLE}
    """
)

# Under the queues' lock: mark what is closed and was empty in every sample for long enough.
DRAIN = statement(
    f"""
    UPDATE mqs.queues q SET drain_time = now(), change_time = clock_timestamp()
    FROM mqs.rabbit_queues r, mqs.rabbit_broker b
    WHERE q.queue_no = ANY (:queues) AND r.queue_no = q.queue_no AND {_IS_DRAINABLE}
    RETURNING q.queue_no
    """
)

# Keep copies of dead letters, each once; those of queues that nobody has are dropped.
COPY_DEAD_LETTERS = statement(
    """
    WITH homed AS (
      SELECT coalesce(q.queue_no, g.queue_no) AS queue_no, s.*
      FROM unnest(:mqids::text[], :keys::bytea[], :n_deliveries::int[],
        :publish_times::timestamptz[], :reasons::text[], :bodies::bytea[])
        AS s (mqid, copy_key, n_deliveries, publish_time, reason, body)
      LEFT JOIN mqs.queues q ON q.mqid = s.mqid LEFT JOIN mqs.graves g ON g.mqid = s.mqid
      WHERE coalesce(q.queue_no, g.queue_no) IS NOT NULL
    ), kept AS (
      INSERT INTO mqs.dead_letters AS l (queue_no, event_no, claim_no, n_deliveries, publish_time,
        reason, body, copy_key)
      SELECT queue_no, nextval('mqs.event_no'), 0, n_deliveries, publish_time, reason, body,
        copy_key
      FROM homed
      ON CONFLICT (queue_no, copy_key) WHERE copy_key IS NOT NULL DO NOTHING
      RETURNING l.queue_no
    ), tallied AS (
      INSERT INTO mqs.tallies (queue_no, dead)
      SELECT queue_no, count(*)::int FROM kept GROUP BY queue_no
    )
    SELECT count(*) FROM kept
    """
)

# Some of the events that were put back and are still to be published again.
TAKE_RETURNS = statement(
    """
    SELECT e.event_no, r.mqid, e.queue_no, e.body
    FROM mqs.events e JOIN mqs.rabbit_queues r USING (queue_no)
    WHERE r.is_wanted AND r.declare_time IS NOT NULL
    ORDER BY e.position LIMIT :limit
    """
)

# RabbitMQ has them: forget ours. They count as depth there, and were counted as published before.
RETURNED = statement(
    """
    WITH gone AS (
      DELETE FROM mqs.events WHERE queue_no = :queue AND event_no = ANY (:event_nos)
      RETURNING queue_no
    )
    INSERT INTO mqs.tallies (queue_no, depth, published)
    SELECT queue_no, -count(*)::int, -count(*)::int FROM gone GROUP BY queue_no
    """
)
