"""Table of answers to quarantined rows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

TEXT, NUMBER = sa.Text(), sa.BigInteger()
TABLE = "trimtab_quarantine_end"
KEYS = ("table", "batch")


def upgrade() -> None:
    """Make the table and its indexes."""
    op.create_table(
        TABLE,
        sa.Column("seq", NUMBER.with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("created_at", NUMBER, nullable=False),
        *(sa.Column(key, TEXT, nullable=False) for key in KEYS),
        sa.Column("body", TEXT, nullable=False),
        if_not_exists=True,
    )
    op.create_index(f"ix_{TABLE}_id", TABLE, ["id"], unique=True, if_not_exists=True)
    for key in KEYS:
        op.create_index(f"ix_{TABLE}_{key}", TABLE, [key, "seq"], if_not_exists=True)
