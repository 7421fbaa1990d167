"""How Alembic reaches the database: through the connection that hanlin.store.migrate hands it."""

from alembic import context

from hanlin.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
