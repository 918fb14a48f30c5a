"""Tables of events of triggers, and of what became of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

TEXT, NUMBER = sa.Text(), sa.BigInteger()
TABLES = {"trigger_event": ("name",), "trigger_outcome": ("name", "event", "state")}


def upgrade() -> None:
    """Make the tables and their indexes."""
    for kind, keys in TABLES.items():
        table = f"trimtab_{kind}"
        op.create_table(
            table,
            sa.Column("seq", NUMBER.with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
            sa.Column("id", TEXT, nullable=False),
            sa.Column("created_at", NUMBER, nullable=False),
            *(sa.Column(key, TEXT, nullable=False) for key in keys),
            sa.Column("body", TEXT, nullable=False),
            if_not_exists=True,
        )
        op.create_index(f"ix_{table}_id", table, ["id"], unique=True, if_not_exists=True)
        for key in keys:
            op.create_index(f"ix_{table}_{key}", table, [key, "seq"], if_not_exists=True)
