"""The SQL of the broker in PostgreSQL, each statement with a name and a sentence.

The functions that it calls stand in the migrations, with the reasons for their locks.
"""

from __future__ import annotations

from ewms_postgres.statements import Statement, statement

__all__ = [
    "BEAT",
    "CHANGED_COUNTS",
    "CLAIM",
    "CLOSE",
    "COUNTS",
    "DELETE_DEAD_GARBAGE",
    "DELETE_GARBAGE",
    "DELETE_QUEUES",
    "DRAIN",
    "EXPIRE",
    "FORGET",
    "FORGET_PROCESS",
    "FORGET_REQUEUES",
    "GIVE_BACK",
    "KEPT_EVENTS",
    "LOCK_QUEUES",
    "NEXT_EXPIRY",
    "PUBLISH",
    "READY",
    "ROLL_UP",
    "SETTLE",
    "TAKE_GARBAGE",
    "TRY_ROLL_UP",
    "WHICH_REMAIN",
    "garbage_of",
]

# Append events to an open queue, but for those whose id it remembers.
PUBLISH = statement("SELECT outcome, repeated FROM mqs.publish(:queue, :hashes, :bodies)")

# Lease the next events of a queue.
CLAIM = statement("SELECT * FROM mqs.claim(:queue, :limit, :max_bytes, :lease)")

# Delete what is acknowledged, put back or bury what is refused, prolong what is extended.
SETTLE = statement(
    """
    SELECT * FROM mqs.settle(
      :queue, :lease, :max_deliveries, :ack_nos, :ack_claims,
      :nack_nos, :nack_claims, :nack_requeue, :nack_reasons,
      :extend_nos, :extend_claims, :extend_held)
    """
)

# Of events that were to be acknowledged and were not: those that are still there.
WHICH_REMAIN = statement(
    """
    SELECT event_no FROM mqs.events WHERE queue_no = :queue AND event_no = ANY (:nos)
    UNION ALL
    SELECT event_no FROM mqs.dead_letters WHERE queue_no = :queue AND event_no = ANY (:nos)
    """
)

# Let deliveries that were never worked on wait again, in their old place.
GIVE_BACK = statement("SELECT mqs.give_back(:queue, :nos, :claims)")

# Wait until nobody publishes to these queues, or settles; in the order given, which is sorted.
LOCK_QUEUES = statement("SELECT pg_advisory_xact_lock(5067603, q) FROM unnest(:queues::int[]) q")

# Under that lock: accept no more events.
CLOSE = statement(
    """
    UPDATE mqs.queues SET close_time = now(), change_time = clock_timestamp()
    WHERE queue_no = ANY (:queues) AND close_time IS NULL
    RETURNING queue_no
    """
)

# Under that lock: mark what is closed, empty and settled, once and for all.
DRAIN = statement(
    """
    UPDATE mqs.queues q SET drain_time = now(), change_time = clock_timestamp()
    WHERE queue_no = ANY (:queues) AND close_time IS NOT NULL AND drain_time IS NULL
      AND NOT EXISTS (SELECT FROM mqs.events e WHERE e.queue_no = q.queue_no)
    RETURNING queue_no
    """
)

# The queues in which an event waits.
READY = statement(
    """
    SELECT q FROM unnest(:queues::int[]) q
    WHERE EXISTS (SELECT FROM mqs.events e WHERE e.queue_no = q AND e.lease_until IS NULL)
    """
)

# Counts of some queues, exact: what is summed up and what is not yet, in one snapshot.
COUNTS = statement(
    """
    WITH recent AS (
      SELECT queue_no, sum(published) AS published, sum(depth) AS depth,
        sum(in_flight) AS in_flight, sum(done) AS done, sum(dead) AS dead
      FROM mqs.tallies WHERE queue_no = ANY (:queues) GROUP BY queue_no
    )
    SELECT c.queue_no, (c.published + coalesce(r.published, 0))::bigint AS published,
      (c.depth + coalesce(r.depth, 0))::bigint AS depth,
      (c.in_flight + coalesce(r.in_flight, 0))::bigint AS in_flight,
      (c.done + coalesce(r.done, 0))::bigint AS done,
      (c.dead + coalesce(r.dead, 0))::bigint AS dead
    FROM mqs.counts c LEFT JOIN recent r USING (queue_no)
    WHERE c.queue_no = ANY (:queues)
    """
)

# The same of all queues with news.
CHANGED_COUNTS = statement(
    """
    WITH recent AS (
      SELECT queue_no, sum(published) AS published, sum(depth) AS depth,
        sum(in_flight) AS in_flight, sum(done) AS done, sum(dead) AS dead
      FROM mqs.tallies GROUP BY queue_no
    ), news AS (
      SELECT queue_no FROM recent
      UNION SELECT queue_no FROM mqs.counts WHERE change_time > now() - :within::interval
    )
    SELECT c.queue_no, (c.published + coalesce(r.published, 0))::bigint AS published,
      (c.depth + coalesce(r.depth, 0))::bigint AS depth,
      (c.in_flight + coalesce(r.in_flight, 0))::bigint AS in_flight,
      (c.done + coalesce(r.done, 0))::bigint AS done,
      (c.dead + coalesce(r.dead, 0))::bigint AS dead
    FROM news JOIN mqs.counts c USING (queue_no) LEFT JOIN recent r USING (queue_no)
    """
)

# Whether nobody else sums up; two at once could wait for one another's rows in a circle.
TRY_ROLL_UP = statement("SELECT pg_try_advisory_xact_lock(5067605, 0)")

# Under that lock: sum tallies up, and tell the register which queues' dead letters that changes.
ROLL_UP = statement(
    """
    WITH taken AS (
      DELETE FROM mqs.tallies t
      WHERE t.ctid = ANY (ARRAY(SELECT ctid FROM mqs.tallies LIMIT :limit FOR UPDATE SKIP LOCKED))
      RETURNING t.*
    ), summed AS (
      SELECT queue_no, sum(published) AS published, sum(depth) AS depth,
        sum(in_flight) AS in_flight, sum(done) AS done, sum(dead) AS dead, count(*) AS n
      FROM taken GROUP BY queue_no
    ), locked AS MATERIALIZED (
      -- In the order in which closing and releasing lock them, too. By an array, so that there
      -- is never a plan that reads the whole register.
      SELECT queue_no FROM mqs.queues
      WHERE queue_no = ANY (ARRAY(SELECT queue_no FROM summed WHERE dead <> 0))
      ORDER BY queue_no FOR UPDATE
    ), marked AS (
      UPDATE mqs.queues q SET n_dead = q.n_dead + s.dead, change_time = clock_timestamp()
      FROM summed s
      WHERE q.queue_no = s.queue_no AND q.queue_no = ANY (ARRAY(SELECT queue_no FROM locked))
    ), added AS (
      UPDATE mqs.counts c
      SET published = c.published + s.published, depth = c.depth + s.depth,
        in_flight = c.in_flight + s.in_flight, done = c.done + s.done,
        dead = c.dead + s.dead, change_time = now()
      FROM summed s WHERE c.queue_no = s.queue_no
    )
    SELECT coalesce(sum(n), 0)::bigint AS n,
      coalesce(array_agg(queue_no) FILTER (WHERE dead <> 0), '{}') AS dead_changed
    FROM summed
    """
)

# How many events are kept in all, but for the last second's.
KEPT_EVENTS = statement(
    """
    SELECT (
      (SELECT coalesce(sum(depth + in_flight + dead), 0) FROM mqs.counts
       WHERE depth + in_flight + dead > 0)
      + (SELECT coalesce(sum(n_dead), 0) FROM mqs.graves))::bigint
    """
)

# Give queues up: what counts them at once, their events later.
DELETE_QUEUES = statement(
    """
    WITH uncounted AS (DELETE FROM mqs.counts WHERE queue_no = ANY (:queues))
    INSERT INTO mqs.garbage (queue_no) SELECT unnest(:queues::int[]) ON CONFLICT DO NOTHING
    """
)

# A queue whose events are to be deleted; other processes take others.
TAKE_GARBAGE = statement(
    "SELECT queue_no FROM mqs.garbage ORDER BY queue_no LIMIT 1 FOR UPDATE SKIP LOCKED"
)


def garbage_of(table: str) -> Statement:
    """Delete some rows of a queue that is gone from one of the tables."""
    return statement(
        f"DELETE FROM mqs.{table} WHERE ctid = ANY (ARRAY("
        f"SELECT ctid FROM mqs.{table} WHERE queue_no = :queue LIMIT :limit))"
    )


# The same of its dead letters, unless they can still be read.
DELETE_DEAD_GARBAGE = statement(
    """
    DELETE FROM mqs.dead_letters WHERE ctid = ANY (ARRAY(
      SELECT ctid FROM mqs.dead_letters WHERE queue_no = :queue LIMIT :limit))
      AND NOT EXISTS (SELECT FROM mqs.graves WHERE queue_no = :queue)
    """
)

# Nothing is left of a queue that is gone.
DELETE_GARBAGE = statement("DELETE FROM mqs.garbage WHERE queue_no = :queue")

# Forget ids of events that were published long ago.
FORGET = statement(
    """
    DELETE FROM mqs.remembered WHERE ctid = ANY (ARRAY(
      SELECT ctid FROM mqs.remembered WHERE publish_time < now() - :window::interval
      ORDER BY publish_time LIMIT :limit))
    """
)

# Forget requests that put dead letters back long ago.
FORGET_REQUEUES = statement(
    """
    DELETE FROM mqs.requeues WHERE ctid = ANY (ARRAY(
      SELECT ctid FROM mqs.requeues WHERE request_time < now() - :window::interval
      ORDER BY request_time LIMIT :limit))
    """
)

# Say that a process lives. One that was silent, or is new, gets a time of grace for all.
BEAT = statement(
    """
    INSERT INTO mqs.processes AS p (process_id, beat_time, grace_until)
    VALUES (:process, clock_timestamp(), clock_timestamp() + :lease::interval)
    ON CONFLICT (process_id) DO UPDATE SET
      grace_until = CASE
        WHEN p.beat_time < clock_timestamp() - :silence::interval
        THEN clock_timestamp() + :lease::interval ELSE p.grace_until END,
      beat_time = clock_timestamp()
    """
)

# Forget a process that has ended, or (with an age) others that have long been silent.
FORGET_PROCESS = statement(
    """
    DELETE FROM mqs.processes
    WHERE process_id = :process OR beat_time < clock_timestamp() - :age::interval
    """
)

# Deliver again, or bury, what was not settled in time; nothing while somebody is in grace.
EXPIRE = statement(
    """
    SELECT queue_no, n_ready, n_dead
    FROM mqs.expire_leases(:process, :silence, :lease, :max_deliveries, :limit)
    """
)

# Seconds until the next lease runs out; null when there is none.
NEXT_EXPIRY = statement(
    """
    SELECT extract(epoch FROM lease_until - clock_timestamp())::float8
    FROM mqs.events WHERE lease_until IS NOT NULL ORDER BY lease_until LIMIT 1
    """
)
