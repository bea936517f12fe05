"""Nets of dependencies: transitions, edges, what occurs, and what the engine is told."""

from alembic import op

revision = "0004"
down_revision = "0003"

TABLES = """
ALTER TABLE wms.workflow
  ADD COLUMN has_net boolean NOT NULL DEFAULT false,
  ADD COLUMN n_active integer NOT NULL DEFAULT 0,
  ADD COLUMN n_failures integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN wms.workflow.n_active IS 'Of a net: occurrences that have not ended.';
COMMENT ON COLUMN wms.workflow.n_failures IS 'Of a net: failures of tasks that stand.';

ALTER TABLE wms.task_directive
  ADD COLUMN state text,
  ADD COLUMN state_reason text NOT NULL DEFAULT '',
  ADD COLUMN n_tries integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN wms.task_directive.state IS 'Where it stands in its net; null without one.';

CREATE TABLE wms.transition (
  workflow_id text NOT NULL REFERENCES wms.workflow ON DELETE CASCADE,
  number integer NOT NULL,
  kind text NOT NULL,
  serves integer,
  missing integer NOT NULL,
  PRIMARY KEY (workflow_id, number)
) WITH (fillfactor = 70);
COMMENT ON TABLE wms.transition IS
  'Tasks by their numbers, and silent joins after them. Not indexed by what changes: HOT updates.';
COMMENT ON COLUMN wms.transition.serves IS 'The task whose recovery it is; nothing else starts it.';
COMMENT ON COLUMN wms.transition.missing IS 'Inputs that are not marked; at none it is enabled.';

CREATE TABLE wms.edge (
  workflow_id text NOT NULL REFERENCES wms.workflow ON DELETE CASCADE,
  src integer NOT NULL,
  dst integer NOT NULL,
  PRIMARY KEY (workflow_id, src, dst)
);

CREATE TABLE wms.occurrence (
  workflow_id text NOT NULL REFERENCES wms.workflow ON DELETE CASCADE,
  transition integer NOT NULL,
  try integer NOT NULL,
  is_over boolean NOT NULL DEFAULT false,
  taskforce_uuid text,
  due_at timestamptz,
  PRIMARY KEY (workflow_id, transition)
);
COMMENT ON COLUMN wms.occurrence.due_at IS 'When its timer ends, or when it is tried again.';
CREATE INDEX occurrence_due ON wms.occurrence (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE wms.signal (
  workflow_id text NOT NULL REFERENCES wms.workflow ON DELETE CASCADE,
  transition integer NOT NULL,
  PRIMARY KEY (workflow_id, transition)
);
COMMENT ON TABLE wms.signal IS 'Signals that have come, perhaps before anybody waits for them.';

CREATE TABLE wms.inbox (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workflow_id text NOT NULL REFERENCES wms.workflow ON DELETE CASCADE,
  transition integer NOT NULL,
  what text NOT NULL,
  UNIQUE (workflow_id, transition, what)
);
COMMENT ON TABLE wms.inbox IS
  'What the engine is to look at, by workflow; a repeat changes nothing. It reads the facts anew.'
"""


def upgrade() -> None:
    connection = op.get_bind()
    for command in TABLES.split(";\n"):
        if command.strip():
            connection.exec_driver_sql(command)
