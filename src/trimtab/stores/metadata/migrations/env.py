"""The script that Alembic executes for each migration. It uses the connection of migrations.migrate."""

from __future__ import annotations

from alembic import context

from trimtab.stores.metadata.schema import metadata
from trimtab.stores.metadata.version import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata(),
    version_table=VERSION_TABLE,
    render_as_batch=True,  # SQLite changes a table by copying it
)
with context.begin_transaction():
    context.run_migrations()
