"""What the MQS keeps of queues on RabbitMQ: which are declared, and what was last seen of them."""

from alembic import op

revision = "0003"
down_revision = "0002"

TABLES = """
CREATE TABLE mqs.rabbit_queues (
  mqid text PRIMARY KEY,
  queue_no integer NOT NULL UNIQUE,
  is_wanted boolean NOT NULL DEFAULT true,
  declare_time timestamptz,
  raw_published bigint NOT NULL DEFAULT 0,
  raw_acked bigint NOT NULL DEFAULT 0,
  empty_since timestamptz,
  n_late bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE mqs.rabbit_queues IS
  'Queues on RabbitMQ: written in the transaction of a grant, declared and deleted after it.';
COMMENT ON COLUMN mqs.rabbit_queues.is_wanted IS 'False once released: to be deleted there.';
COMMENT ON COLUMN mqs.rabbit_queues.declare_time IS 'When RabbitMQ last had it, as far as we know.';
COMMENT ON COLUMN mqs.rabbit_queues.raw_published IS
  'What RabbitMQ''s statistics said last; they begin anew when it starts.';
COMMENT ON COLUMN mqs.rabbit_queues.empty_since IS 'Since then every sample has been empty.';
COMMENT ON COLUMN mqs.rabbit_queues.n_late IS 'Events that came after the queue was drained.';
CREATE INDEX rabbit_queues_to_do ON mqs.rabbit_queues (queue_no)
  WHERE declare_time IS NULL OR NOT is_wanted;

CREATE TABLE mqs.rabbit_broker (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  dead_queue text NOT NULL,
  sample_time timestamptz NOT NULL DEFAULT now(),
  steady_since timestamptz NOT NULL DEFAULT now(),
  alarm text NOT NULL DEFAULT ''
);
COMMENT ON TABLE mqs.rabbit_broker IS 'RabbitMQ as it was last seen.';
COMMENT ON COLUMN mqs.rabbit_broker.dead_queue IS
  'Where dead letters come together. Not to be guessed: a token may write to any queue by name.';
COMMENT ON COLUMN mqs.rabbit_broker.steady_since IS 'Since then no sample has been missed.';
COMMENT ON COLUMN mqs.rabbit_broker.alarm IS 'What RabbitMQ is short of; empty: of nothing.';
INSERT INTO mqs.rabbit_broker (dead_queue)
  VALUES ('ewms.dead.' || replace(gen_random_uuid()::text, '-', ''));

ALTER TABLE mqs.dead_letters ADD COLUMN copy_key bytea;
COMMENT ON COLUMN mqs.dead_letters.copy_key IS
  'Of one that was copied from RabbitMQ: tells a copy that is made again after a kill.';
CREATE UNIQUE INDEX dead_letters_copied ON mqs.dead_letters (queue_no, copy_key)
  WHERE copy_key IS NOT NULL
"""


def upgrade() -> None:
    """Create the tables."""
    connection = op.get_bind()
    for command in TABLES.split(";\n"):
        if command.strip():
            connection.exec_driver_sql(command)
