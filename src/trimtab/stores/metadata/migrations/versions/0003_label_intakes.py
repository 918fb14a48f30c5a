"""A table of label intakes: the version of each table of outcomes up to which its rows became labels."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

TABLE = "trimtab_label_intake"
KEYS: dict[str, sa.types.TypeEngine[str] | sa.types.TypeEngine[int]] = {
    "model": sa.Text(),
    "table": sa.Text(),
    "version": sa.BigInteger(),
}


def upgrade() -> None:
    """Make the table and its indexes."""
    op.create_table(
        TABLE,
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        *(sa.Column(key, type_, nullable=False) for key, type_ in KEYS.items()),
        sa.Column("body", sa.Text(), nullable=False),
    )
    op.create_index(f"ix_{TABLE}_id", TABLE, ["id"], unique=True)
    for key in KEYS:
        op.create_index(f"ix_{TABLE}_{key}", TABLE, [key, "seq"])
