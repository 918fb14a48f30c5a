"""Tables of alerts, of the messages that tell them, and of how far records have been looked at."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

TEXT, NUMBER = sa.Text(), sa.BigInteger()
TABLES: dict[str, dict[str, sa.types.TypeEngine[str] | sa.types.TypeEngine[int]]] = {
    "alert": {"event": TEXT, "model": TEXT},
    "alert_message": {"channel": TEXT, "number": NUMBER, "state": TEXT},
    "alert_position": {"number": NUMBER},
}


def upgrade() -> None:
    """Make the tables and their indexes."""
    for kind, keys in TABLES.items():
        table = f"trimtab_{kind}"
        op.create_table(
            table,
            sa.Column("seq", NUMBER.with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
            sa.Column("id", TEXT, nullable=False),
            sa.Column("created_at", NUMBER, nullable=False),
            *(sa.Column(key, type_, nullable=False) for key, type_ in keys.items()),
            sa.Column("body", TEXT, nullable=False),
            if_not_exists=True,
        )
        op.create_index(f"ix_{table}_id", table, ["id"], unique=True, if_not_exists=True)
        for key in keys:
            op.create_index(f"ix_{table}_{key}", table, [key, "seq"], if_not_exists=True)
