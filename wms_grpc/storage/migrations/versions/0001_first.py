"""The first schema of the WMS."""

from alembic import op

revision = "0001"
down_revision = None

TABLES = """
CREATE TABLE wms.feed_state (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  epoch text NOT NULL,
  last_position bigint NOT NULL DEFAULT 0,
  compacted_position bigint NOT NULL DEFAULT 0
);

CREATE TABLE wms.workflow (
  workflow_id text PRIMARY KEY,
  owner text NOT NULL,
  name text NOT NULL,
  labels jsonb NOT NULL,
  priority integer NOT NULL,
  state text NOT NULL,
  state_reason text NOT NULL DEFAULT '',
  pending_reason text NOT NULL DEFAULT '',
  retry_time timestamptz,
  create_time timestamptz NOT NULL,
  active_time timestamptz,
  end_time timestamptz,
  settled_time timestamptz,
  revision bigint NOT NULL,
  attention text[] NOT NULL DEFAULT '{}',
  n_tasks integer NOT NULL,
  n_taskforces integer NOT NULL,
  n_unended integer NOT NULL,
  hold_running boolean NOT NULL DEFAULT false,
  activation_due timestamptz,
  claim_until timestamptz,
  release_due timestamptz
) WITH (fillfactor = 80);
CREATE INDEX workflow_by_age ON wms.workflow (create_time DESC, workflow_id DESC);
CREATE INDEX workflow_by_priority ON wms.workflow (priority DESC, workflow_id DESC);
CREATE INDEX workflow_by_state ON wms.workflow (state, create_time DESC, workflow_id DESC);
CREATE INDEX workflow_of_owner ON wms.workflow (owner, create_time DESC, workflow_id DESC);
CREATE INDEX workflow_by_label ON wms.workflow USING gin (labels jsonb_path_ops);
CREATE INDEX workflow_to_activate ON wms.workflow (priority DESC, create_time)
  WHERE activation_due IS NOT NULL;
CREATE INDEX workflow_to_release ON wms.workflow (release_due) WHERE release_due IS NOT NULL;

CREATE TABLE wms.task_directive (
  task_id text PRIMARY KEY,
  workflow_id text NOT NULL REFERENCES wms.workflow ON DELETE CASCADE,
  number integer NOT NULL,
  create_time timestamptz NOT NULL,
  name text NOT NULL,
  task_image text NOT NULL,
  n_workers integer NOT NULL,
  spec jsonb NOT NULL,
  is_done boolean NOT NULL DEFAULT false,
  done_time timestamptz,
  stop_due timestamptz
);
CREATE UNIQUE INDEX task_directive_of_workflow ON wms.task_directive (workflow_id, number);
CREATE INDEX task_directive_by_age ON wms.task_directive (create_time DESC, task_id DESC);
CREATE INDEX task_directive_to_stop ON wms.task_directive (stop_due) WHERE stop_due IS NOT NULL;

CREATE TABLE wms.taskforce (
  taskforce_uuid text PRIMARY KEY,
  workflow_id text NOT NULL REFERENCES wms.workflow ON DELETE CASCADE,
  task_id text NOT NULL REFERENCES wms.task_directive ON DELETE CASCADE,
  create_time timestamptz NOT NULL,
  priority integer NOT NULL,
  cluster_location text NOT NULL,
  schedd text NOT NULL,
  n_workers integer NOT NULL,
  spec jsonb NOT NULL,
  phase text NOT NULL,
  phase_log jsonb NOT NULL DEFAULT '[]',
  waiting_reason text NOT NULL DEFAULT '',
  cluster_id bigint,
  submit_dict jsonb NOT NULL DEFAULT '{}',
  job_event_log_fpath text NOT NULL DEFAULT '',
  compound_statuses jsonb NOT NULL DEFAULT '{}',
  top_task_errors jsonb NOT NULL DEFAULT '{}',
  status_sequence bigint NOT NULL DEFAULT 0,
  n_refusals integer NOT NULL DEFAULT 0,
  n_failures integer NOT NULL DEFAULT 0,
  outcomes jsonb NOT NULL DEFAULT '[]',
  condor_complete_time timestamptz,
  n_idle integer NOT NULL DEFAULT 0,
  attempt integer NOT NULL DEFAULT 0,
  assignment text,
  assignment_due timestamptz,
  assigned_session bigint,
  assigned_time timestamptz,
  hold_wanted boolean NOT NULL DEFAULT false,
  hold_pushed boolean NOT NULL DEFAULT false,
  hold_session bigint
) WITH (fillfactor = 70);
CREATE INDEX taskforce_of_workflow ON wms.taskforce (workflow_id, taskforce_uuid);
CREATE INDEX taskforce_of_task ON wms.taskforce (task_id);
CREATE INDEX taskforce_by_age ON wms.taskforce (create_time DESC, taskforce_uuid DESC);
CREATE INDEX taskforce_by_priority ON wms.taskforce (priority DESC, taskforce_uuid DESC);
CREATE INDEX taskforce_by_phase
  ON wms.taskforce (phase, create_time DESC, taskforce_uuid DESC);
CREATE INDEX taskforce_to_launch
  ON wms.taskforce (cluster_location, priority DESC, create_time, taskforce_uuid)
  WHERE phase = 'PRE_LAUNCH';
CREATE INDEX taskforce_launched ON wms.taskforce (cluster_location)
  WHERE phase IN ('PENDING_STARTER', 'CONDOR_SUBMIT');
CREATE INDEX taskforce_to_assign ON wms.taskforce (schedd, priority DESC, create_time)
  WHERE assignment IS NOT NULL;
CREATE INDEX taskforce_to_hold ON wms.taskforce (schedd)
  WHERE hold_wanted OR hold_pushed;

CREATE TABLE wms.queue (
  mqid text PRIMARY KEY,
  workflow_id text NOT NULL REFERENCES wms.workflow ON DELETE CASCADE,
  number integer NOT NULL,
  alias text NOT NULL,
  is_public boolean NOT NULL,
  is_activated boolean NOT NULL DEFAULT false,
  is_close_requested boolean NOT NULL DEFAULT false,
  is_close_due boolean NOT NULL DEFAULT false,
  is_closed boolean NOT NULL DEFAULT false,
  is_drained boolean NOT NULL DEFAULT false,
  broker_type text NOT NULL DEFAULT '',
  broker_address text NOT NULL DEFAULT '',
  broker_tls boolean NOT NULL DEFAULT false
);
CREATE UNIQUE INDEX queue_of_workflow ON wms.queue (workflow_id, alias);
CREATE INDEX queue_to_close ON wms.queue (workflow_id) WHERE is_close_due AND NOT is_closed;

CREATE TABLE wms.agent (
  schedd text PRIMARY KEY,
  agent_id text NOT NULL,
  session bigint NOT NULL,
  lease_until timestamptz NOT NULL
);

CREATE TABLE wms.capacity (
  schedd text PRIMARY KEY,
  report_time timestamptz NOT NULL,
  report jsonb NOT NULL
);

CREATE TABLE wms.stray_cluster (
  taskforce_uuid text NOT NULL REFERENCES wms.taskforce ON DELETE CASCADE,
  cluster_id bigint NOT NULL,
  schedd text NOT NULL,
  attempt integer NOT NULL,
  due timestamptz NOT NULL,
  assigned_session bigint,
  assigned_time timestamptz,
  PRIMARY KEY (taskforce_uuid, cluster_id)
);
CREATE INDEX stray_cluster_of_schedd ON wms.stray_cluster (schedd);

CREATE TABLE wms.request (
  owner text NOT NULL,
  rpc text NOT NULL,
  request_id text NOT NULL,
  content_hash bytea NOT NULL,
  workflow_id text NOT NULL REFERENCES wms.workflow ON DELETE CASCADE,
  subject text NOT NULL,
  PRIMARY KEY (owner, rpc, request_id)
);
CREATE INDEX request_of_workflow ON wms.request (workflow_id);

CREATE TABLE wms.feed (
  workflow_id text NOT NULL,
  revision bigint NOT NULL,
  part integer NOT NULL,
  is_last boolean NOT NULL,
  time timestamptz NOT NULL,
  body bytea NOT NULL,
  before jsonb,
  after jsonb NOT NULL,
  PRIMARY KEY (workflow_id, revision, part)
);
CREATE INDEX feed_by_time ON wms.feed USING brin (time);

CREATE TABLE wms.outbox (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workflow_id text NOT NULL,
  revision bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

CREATE TABLE wms.feed_position (
  position bigint PRIMARY KEY,
  workflow_id text NOT NULL,
  revision bigint NOT NULL
);

CREATE TABLE wms.history (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workflow_id text NOT NULL,
  revision bigint NOT NULL,
  time timestamptz NOT NULL,
  kind text NOT NULL,
  subject text NOT NULL,
  what text NOT NULL,
  source text NOT NULL,
  reason text NOT NULL,
  was_successful boolean NOT NULL,
  source_event_time timestamptz
);
CREATE INDEX history_of_workflow ON wms.history (workflow_id, id);

INSERT INTO wms.feed_state (epoch) VALUES (replace(gen_random_uuid()::text, '-', ''));
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
