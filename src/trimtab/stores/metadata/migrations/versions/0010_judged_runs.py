"""Column that tells judged runs from fits on all rows after the gates, filled from the bodies of earlier runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

TABLE, COLUMN = "trimtab_run", "refit_of"


def upgrade() -> None:
    """Make the column and its indexes."""
    connection = op.get_bind()
    if COLUMN not in {column["name"] for column in sa.inspect(connection).get_columns(TABLE)}:
        op.add_column(TABLE, sa.Column(COLUMN, sa.Text(), nullable=True))
        sqlite = connection.dialect.name == "sqlite"
        value = f"json_extract(body, '$.{COLUMN}')" if sqlite else f"body::json ->> '{COLUMN}'"
        connection.exec_driver_sql(f"UPDATE {TABLE} SET {COLUMN} = {value}")
    op.create_index(f"ix_{TABLE}_{COLUMN}", TABLE, [COLUMN, "seq"], if_not_exists=True)
    op.create_index(f"ix_{TABLE}_model_{COLUMN}", TABLE, ["model", COLUMN, "seq"], if_not_exists=True)
