"""Tables of endpoints, sets of examples, calibrations of judges and closed spend."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

TEXT, NUMBER = sa.Text(), sa.BigInteger()
TABLES = {"endpoint": ("name",), "eval_set": ("name",), "judge_calibration": ("judge",), "spend": ("scope",)}


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
