"""Alembic's entry: migrations run inside the transaction that `migrate` opened."""

from alembic import context

from llmops.clients.database.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=False
)
context.run_migrations()
