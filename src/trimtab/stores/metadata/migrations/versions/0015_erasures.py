"""The table of erasures of text."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

TEXT, NUMBER = sa.Text(), sa.BigInteger()
TABLE = "trimtab_text_erasure"


def upgrade() -> None:
    """Make the table and its indexes."""
    op.create_table(
        TABLE,
        sa.Column("seq", NUMBER.with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("created_at", NUMBER, nullable=False),
        sa.Column("by", TEXT, nullable=False),
        sa.Column("body", TEXT, nullable=False),
        if_not_exists=True,
    )
    op.create_index(f"ix_{TABLE}_id", TABLE, ["id"], unique=True, if_not_exists=True)
    op.create_index(f"ix_{TABLE}_by", TABLE, ["by", "seq"], if_not_exists=True)
