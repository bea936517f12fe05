"""Alembic's environment for every schema of ours: online only, on a connection that is given.

`ewms_postgres.migrations` hands it the connection and the schema; each service keeps nothing but
its `versions`.
"""

from alembic import context

connection = context.config.attributes["connection"]
schema = context.config.attributes["schema"]

context.configure(
    connection=connection,
    version_table_schema=schema,
    target_metadata=context.config.attributes.get("metadata"),
    include_schemas=True,
    # All or nothing: a start that is killed half-way leaves the schema as it was.
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
