"""What a workflow's attention is made of: dead letters of queues, and taskforces that are held."""

from alembic import op

revision = "0002"
down_revision = "0001"

COMMANDS = (
    "ALTER TABLE wms.queue ADD COLUMN n_dead bigint NOT NULL DEFAULT 0",
    "CREATE INDEX queue_with_dead ON wms.queue (mqid) WHERE n_dead > 0 AND NOT is_drained",
    "ALTER TABLE wms.taskforce ADD COLUMN is_held boolean NOT NULL DEFAULT false",
    """
    UPDATE wms.taskforce SET is_held = true
    WHERE phase NOT IN ('CONDOR_COMPLETE', 'FAILED')
      AND EXISTS (SELECT FROM jsonb_object_keys(compound_statuses) s WHERE s LIKE 'HELD%')
      AND NOT EXISTS (
        SELECT FROM jsonb_object_keys(compound_statuses) s
        WHERE s NOT LIKE 'HELD%' AND s NOT LIKE 'COMPLETED%' AND s NOT LIKE 'REMOVED%')
    """,
)


def upgrade() -> None:
    for command in COMMANDS:
        op.execute(command)
