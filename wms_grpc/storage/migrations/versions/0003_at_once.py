"""A grant with its launch as one statement: what that takes for granted, checked within it."""

from alembic import op

revision = "0003"
down_revision = "0002"

# Volatile, so that each look sees what was committed before the lock was had; which leaves out the
# workflow's own rows, of which the calling statement may have written some.
REQUIRE = """
CREATE FUNCTION wms.require_at_once(
  p_workflow text, p_is_unchanged boolean, p_locations text[], p_limits integer[]
) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  v_location text;
  v_limit integer;
BEGIN
  IF NOT p_is_unchanged THEN
    RAISE serialization_failure USING MESSAGE = 'the workflow has changed';
  END IF;
  FOR v_location, v_limit IN SELECT * FROM unnest(p_locations, p_limits) LOOP
    -- Never waits: the caller has a workflow, which launching locks after the location.
    IF NOT pg_try_advisory_xact_lock(hashtextextended('wms.launch:' || v_location, 0)) THEN
      RAISE serialization_failure USING MESSAGE = 'somebody else launches there';
    END IF;
    IF EXISTS (
      SELECT FROM wms.taskforce
      WHERE cluster_location = v_location AND phase = 'PRE_LAUNCH' AND workflow_id <> p_workflow
    ) OR v_limit <= (
      SELECT coalesce(sum(n_idle), 0) FROM wms.taskforce
      WHERE cluster_location = v_location AND phase IN ('PENDING_STARTER', 'CONDOR_SUBMIT')
        AND workflow_id <> p_workflow
    ) THEN
      RAISE serialization_failure USING MESSAGE = 'there is no room';
    END IF;
  END LOOP;
END $$
"""
COMMENT = """
COMMENT ON FUNCTION wms.require_at_once IS
  'Undoes the calling statement unless the workflow was as it took it for, and there is room.'
"""


def upgrade() -> None:
    """Create the function."""
    connection = op.get_bind()
    for command in (REQUIRE, COMMENT):
        connection.exec_driver_sql(command)
